-- Which index serves which query is in tests/warehouse/test_plans.py, what they cost in docs/warehouse.md.

-- In arrival order a BRIN index is small, but one late event in a hundred makes each of its ranges reach over all days. Of 1 million rows in
-- 30 days a day is 33,450 pages by BRIN, 18,320 by minmax-multi, 2,550 by b-tree, which also has the newest first.
drop index fraud.fraud_predictions_occurred_at;
create index fraud_predictions_occurred_at on fraud.fraud_predictions (occurred_at);

-- No query asks for it, and without it a later label of a source changes its row in place.
drop index fraud.fraud_labels_labelled_at;

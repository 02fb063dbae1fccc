-- The daily tables of models and features get what their keys and counts lacked. Nothing has filled them before, and what fills them
-- computes a day anew, so that they are made anew.

drop table fraud.daily_model_performance, fraud.daily_feature_drift;

create table fraud.daily_model_performance (
    day                date not null,
    contract           text not null,
    classifier_version text not null,
    label_age_days     integer not null check (label_age_days >= 0),
    transactions       bigint not null,
    labelled           bigint not null,
    contradicted       bigint not null default 0,
    frauds             bigint not null,
    true_positives     bigint not null,
    false_positives    bigint not null,
    precision          double precision,
    recall             double precision,
    average_precision  double precision,
    amount_saved       numeric not null,
    amount_lost        numeric not null,
    computed_at        timestamptz not null default now(),
    primary key (day, contract, classifier_version, label_age_days)
);

comment on table fraud.daily_model_performance is
    'Flags against the labels known label_age_days after the UTC day of occurred_at. labelled / transactions says how complete they are.';
comment on column fraud.daily_model_performance.classifier_version is 'none where no classifier was asked.';
comment on column fraud.daily_model_performance.contradicted is 'Transactions that sources label differently; the latest label counts.';
comment on column fraud.daily_model_performance.true_positives is 'Frauds that were reviewed or blocked.';
comment on column fraud.daily_model_performance.average_precision is 'Null where the labels are of one class only.';
comment on column fraud.daily_model_performance.amount_saved is 'Of frauds that were reviewed or blocked.';
comment on column fraud.daily_model_performance.amount_lost is 'Of frauds that were approved.';

create table fraud.daily_feature_drift (
    day              date not null,
    contract         text not null,
    manifest_version text not null,
    feature          text not null,
    rows             bigint not null,
    missing          bigint not null,
    mean             double precision,
    psi              double precision,
    ks               double precision,
    computed_at      timestamptz not null default now(),
    primary key (day, contract, manifest_version, feature)
);

comment on table fraud.daily_feature_drift is
    'Inputs of the models and their scores on a UTC day of occurred_at, against what the manifest''s models were trained and judged on.';
comment on column fraud.daily_feature_drift.feature is 'An input, or fraud_proba or anomaly_score.';
comment on column fraud.daily_feature_drift.psi is 'Population stability index; null where the manifest has no profile of the feature.';
comment on column fraud.daily_feature_drift.ks is 'Kolmogorov-Smirnov distance; null where psi is.';

grant select on fraud.daily_model_performance, fraud.daily_feature_drift to fraud_analyst, fraud_reader;
grant insert, update, delete on fraud.daily_model_performance, fraud.daily_feature_drift to fraud_analyst;

-- The warehouse: what was scored, what became known of it later, and what is computed from both.
-- Applied once, in one transaction, by the migrations ledger of resources/warehouse.py. Valid on PostgreSQL 15 to 18.

create schema if not exists fraud;

create table fraud.fraud_predictions (
    transaction_id     text primary key,
    event_id           uuid not null,
    run_id             text,
    occurred_at        timestamptz not null,
    scored_at          timestamptz not null,
    stored_at          timestamptz not null default clock_timestamp(),
    user_id            text not null,
    source             text not null,
    device_type        text,
    os_version         text,
    app_version        text,
    ip_address         inet,
    country            text,
    region             text,
    city               text,
    latitude           double precision check (latitude between -90 and 90),
    longitude          double precision check (longitude between -180 and 180),
    hour               smallint not null check (hour between 0 and 23),
    weekday            smallint not null check (weekday between 1 and 7),
    amount             numeric not null,
    amount_band        text not null,
    contract           text not null,
    manifest_version   text not null,
    classifier_version text,
    detector_version   text,
    features           double precision[] not null,
    fraud_proba        double precision check (fraud_proba between 0 and 1),
    fraud_prediction   smallint check (fraud_prediction in (0, 1)),
    anomaly_score      double precision,
    decision           text not null check (decision in ('approve', 'review', 'block')),
    reasons            jsonb not null default '[]',
    degraded           text[] not null default '{}',
    latency_ms         double precision
);

comment on table fraud.fraud_predictions is 'One row per scored transaction, whatever was sent or replayed how often.';
comment on column fraud.fraud_predictions.hour is 'Hour of occurred_at, UTC.';
comment on column fraud.fraud_predictions.weekday is 'ISO weekday of occurred_at, UTC: 1 Monday to 7 Sunday.';
comment on column fraud.fraud_predictions.features is 'In the order of the contract''s inputs.';

create index fraud_predictions_occurred_at on fraud.fraud_predictions using brin (occurred_at);
create index fraud_predictions_stored_at on fraud.fraud_predictions (stored_at);
create index fraud_predictions_flagged on fraud.fraud_predictions (occurred_at) where decision <> 'approve';
create index fraud_predictions_run_id on fraud.fraud_predictions (run_id) where run_id is not null;

create table fraud.fraud_labels (
    transaction_id text not null,
    source         text not null check (source in ('chargeback', 'analyst', 'customer')),
    label          smallint not null check (label in (0, 1)),
    labelled_at    timestamptz not null,
    stored_at      timestamptz not null default clock_timestamp(),
    primary key (transaction_id, source)
);

comment on table fraud.fraud_labels is 'What a transaction turned out to be. May come before the transaction; the latest labelled_at wins.';

create index fraud_labels_labelled_at on fraud.fraud_labels (labelled_at);

create table fraud.quarantined_events (
    shard_id        text not null,
    sequence_number text not null,
    raw             bytea not null,
    reason          text not null,
    detail          text not null,
    arrived_at      timestamptz not null,
    replayed_at     timestamptz,
    primary key (shard_id, sequence_number)
);

comment on table fraud.quarantined_events is 'Events that are no row elsewhere, as they came, with the reason.';

create index quarantined_events_arrived_at on fraud.quarantined_events (arrived_at);

create table fraud.stream_batches (
    query_id       uuid not null,
    batch_id       bigint not null,
    records        integer not null,
    predictions    integer not null,
    duplicates     integer not null,
    labels         integer not null,
    quarantined    integer not null,
    max_lag_ms     bigint not null,
    last_sequences jsonb not null,
    started_at     timestamptz not null,
    stored_at      timestamptz not null default clock_timestamp(),
    primary key (query_id, batch_id)
);

comment on table fraud.stream_batches is
    'The ledger of the stream: records = predictions + duplicates + labels + quarantined. A replayed batch keeps its first counts.';
comment on column fraud.stream_batches.query_id is 'The id in the checkpoint: a new checkpoint counts its batches from 0 again.';
comment on column fraud.stream_batches.max_lag_ms is 'Age of the oldest record when the batch was written.';
comment on column fraud.stream_batches.last_sequences is 'Last sequence number by shard.';

create index stream_batches_stored_at on fraud.stream_batches (stored_at);

create table fraud.daily_fraud_summary (
    day                date not null,
    source             text not null,
    country            text not null,
    transactions       bigint not null,
    amount             numeric not null,
    approved           bigint not null,
    reviewed           bigint not null,
    blocked            bigint not null,
    flagged            bigint not null,
    flagged_amount     numeric not null,
    degraded           bigint not null,
    mean_fraud_proba   double precision,
    mean_anomaly_score double precision,
    delay_p50_ms       double precision not null,
    delay_p95_ms       double precision not null,
    delay_p99_ms       double precision not null,
    computed_at        timestamptz not null default now(),
    primary key (day, source, country)
);

comment on table fraud.daily_fraud_summary is 'Transactions per UTC day of occurred_at. flagged = reviewed + blocked.';
comment on column fraud.daily_fraud_summary.country is 'ISO 3166 alpha-2; ZZ where unknown.';
comment on column fraud.daily_fraud_summary.delay_p50_ms is 'From scored_at to stored_at.';

create table fraud.daily_model_performance (
    day                date not null,
    contract           text not null,
    classifier_version text not null,
    label_age_days     integer not null check (label_age_days >= 0),
    transactions       bigint not null,
    labelled           bigint not null,
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

create table fraud.daily_feature_drift (
    day         date not null,
    contract    text not null,
    feature     text not null,
    rows        bigint not null,
    missing     bigint not null,
    mean        double precision,
    psi         double precision,
    ks          double precision,
    computed_at timestamptz not null default now(),
    primary key (day, contract, feature)
);

comment on table fraud.daily_feature_drift is
    'Each feature, and each score, of a UTC day of occurred_at against the training rows: population stability index and Kolmogorov-Smirnov distance.';

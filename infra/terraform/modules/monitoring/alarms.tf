# One alarm for whatever of our own metrics can be wrong (fraudit_dagster/schemas/metrics.v1.json), and of AWS's what these cannot see.
# What is missing is a fault where the metric comes as long as all is well, and none where it comes with a fault.

locals {
  models  = ["fraud_classifier", "anomaly_detector"]
  reasons = ["not_json", "unknown_version", "unknown_type", "invalid", "outside_window", "conflict"]
  errors = {
    manifest_invalid = "The API refuses serving/manifest.json and goes on with the one before; its log says why."
    event_lost       = "Neither Kinesis nor S3 took an event: what it says is only in the answer of the API."
    alert_failed     = "A transaction was blocked and nobody was told: fraud-alerts could not be reached."
    internal_error   = "The API has failed a request by a fault of its own; its log has the request's id."
  }
  # What is found well has a heartbeat a minute; the daemon one with each look.
  hearts = {
    daemon = { component = "daemon", minutes = 5, description = "Dagster's daemon evaluates no sensors; nothing is watched or repaired. Look at its task." }
    api    = { component = "api/predict", minutes = 15, description = "The API has not been found well for 15 minutes, or its monitor fails. See the asset api/predict in Dagster." }
    stream = { component = "stream/transactions", minutes = 15, description = "The stream has not been found well for 15 minutes, or its monitor fails. See the asset stream/transactions in Dagster." }
    job    = { component = "stream/job", minutes = 15, description = "The stream job has not been found well for 15 minutes, or its monitor fails. See the asset stream/job in Dagster." }
    table  = { component = "warehouse/fraud_predictions", minutes = 15, description = "The table has not been found well for 15 minutes, or its monitor fails. See the asset warehouse/fraud_predictions in Dagster." }
  }

  # Sum unless a statistic is given; more than the limit unless it is "below".
  ours = merge(
    { for heart, it in local.hearts : "no-heartbeat-${heart}" => {
      metric      = "Heartbeat", dimensions = { component = it.component }, below = true, limit = 1, minutes = it.minutes, missing = "breaching"
      description = it.description
    } },
    { for model in local.models : "slow-${replace(model, "_", "-")}" => {
      metric      = "ModelLatency", dimensions = { model = model }, statistic = "p95", limit = var.limits.latency_ms / 2, minutes = 5, missing = "notBreaching"
      description = "95 in 100 answers of the model's endpoint take longer than ${var.limits.latency_ms / 2} ms."
    } },
    { for model in local.models : "degraded-${replace(model, "_", "-")}" => {
      metric      = "Degraded", dimensions = { model = model }, limit = 0, minutes = 5, missing = "notBreaching"
      description = "For five minutes transactions have been decided without this model. See its endpoint."
    } },
    { for code, description in local.errors : "error-${replace(code, "_", "-")}" => {
      metric      = "Errors", dimensions = { code = code }, limit = 0, minutes = 1, missing = "notBreaching"
      description = description
    } },
    { for reason in local.reasons : "quarantined-${replace(reason, "_", "-")}" => {
      metric      = "Quarantined", dimensions = { reason = reason }, limit = 0, minutes = 1, missing = "notBreaching"
      description = "Events became no row; the table fraud.quarantined_events says why. `fraudit replay quarantine` stores what is valid by then."
    } },
    {
      slow-predictions = {
        metric      = "PredictLatency", statistic = "p95", limit = var.limits.latency_ms, minutes = 3, missing = "notBreaching"
        description = "95 in 100 predictions take longer than ${var.limits.latency_ms} ms."
      }
      many-blocked = {
        metric      = "Decisions", dimensions = { decision = "block" }, limit = var.limits.blocked_in_a_minute, minutes = 5, missing = "notBreaching"
        description = "More transactions are blocked than an attack or a wrong model would explain. `fraudit graph rollback` serves the model before."
      }
      dead-letters = {
        metric      = "DeadLetters", limit = 0, minutes = 1, missing = "notBreaching"
        description = "Kinesis did not take events; they lie in S3. `fraudit replay dead-letters` sends them when it is well again."
      }
      old-events = {
        metric      = "IteratorAgeMs", statistic = "Maximum", limit = var.limits.iterator_age_ms, minutes = 5, missing = "breaching"
        description = "Events wait longer than ${var.limits.iterator_age_ms} ms for the stream job, or it says nothing."
      }
      full-batches = {
        metric      = "BatchRows", statistic = "Maximum", limit = 39999, minutes = 5, missing = "notBreaching"
        description = "The stream job takes all that a batch can hold: it is behind, or soon will be."
      }
      slow-batches = {
        metric      = "BatchDurationMs", statistic = "p95", limit = 30000, minutes = 5, missing = "notBreaching"
        description = "95 in 100 batches take longer than 30 s to be stored. See the database."
      }
    },
    # Where customers pay at all hours, silence is a fault.
    var.traffic_at_all_hours ? { no-decisions = {
      metric      = "Decisions", dimensions = { decision = "approve" }, below = true, limit = 1, minutes = 30, missing = "breaching"
      description = "Nothing has been approved for 30 minutes: no traffic reaches the API, or it approves nothing."
    } } : {},
  )

  theirs = {
    gateway-errors = {
      namespace   = "AWS/ApiGateway", metric = "5XXError", dimensions = { ApiName = var.watched.api_name, Stage = "api" }, statistic = "Sum", limit = 0, minutes = 3
      description = "API Gateway answers 5xx."
    }
    function-throttled = {
      namespace   = "AWS/Lambda", metric = "Throttles", dimensions = { FunctionName = var.watched.function_name }, statistic = "Sum", limit = 0, minutes = 1
      description = "The account or the function has no execution left for a prediction."
    }
    stream-full = {
      namespace   = "AWS/Kinesis", metric = "WriteProvisionedThroughputExceeded", dimensions = { StreamName = var.watched.stream_name }, statistic = "Sum", limit = 0, minutes = 3
      description = "The stream's shards take no more: raise their number."
    }
    database-busy = {
      namespace   = "AWS/RDS", metric = "CPUUtilization", dimensions = { DBInstanceIdentifier = var.watched.database }, statistic = "Average", limit = 80, minutes = 15
      description = "The database has been above 80 % of its CPU for 15 minutes."
    }
    database-full = {
      namespace   = "AWS/RDS", metric = "FreeStorageSpace", dimensions = { DBInstanceIdentifier = var.watched.database }, statistic = "Minimum", limit = 2147483648, below = true, minutes = 5
      description = "The database has less than 2 GiB left."
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "ours" {
  for_each            = local.ours
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = "fraudit"
  metric_name         = each.value.metric
  dimensions          = merge({ stage = var.stage }, try(each.value.dimensions, {}))
  statistic           = startswith(try(each.value.statistic, "Sum"), "p") ? null : try(each.value.statistic, "Sum")
  extended_statistic  = startswith(try(each.value.statistic, "Sum"), "p") ? each.value.statistic : null
  period              = 60
  evaluation_periods  = each.value.minutes
  threshold           = each.value.limit
  comparison_operator = try(each.value.below, false) ? "LessThanThreshold" : "GreaterThanThreshold"
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.this["operations"].arn]
  ok_actions          = [aws_sns_topic.this["operations"].arn]
}

resource "aws_cloudwatch_metric_alarm" "theirs" {
  for_each            = local.theirs
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 60
  evaluation_periods  = each.value.minutes
  threshold           = each.value.limit
  comparison_operator = try(each.value.below, false) ? "LessThanThreshold" : "GreaterThanThreshold"
  treat_missing_data  = each.value.namespace == "AWS/RDS" ? "breaching" : "notBreaching"
  alarm_actions       = [aws_sns_topic.this["operations"].arn]
  ok_actions          = [aws_sns_topic.this["operations"].arn]
}

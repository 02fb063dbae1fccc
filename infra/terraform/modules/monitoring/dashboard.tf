# A page for who was woken up: our metrics from the request to the row, then what AWS counts.

locals {
  # SEARCH finds a metric with whatever values its dimension has by then.
  searched = {
    "Decisions a minute"        = { metric = "Decisions", dimension = "decision", statistic = "Sum" }
    "Model latency, p95 (ms)"   = { metric = "ModelLatency", dimension = "model", statistic = "p95" }
    "Degraded answers a minute" = { metric = "Degraded", dimension = "model", statistic = "Sum" }
    "Errors a minute"           = { metric = "Errors", dimension = "code", statistic = "Sum" }
    "Quarantined a minute"      = { metric = "Quarantined", dimension = "reason", statistic = "Sum" }
    "Heartbeats a minute"       = { metric = "Heartbeat", dimension = "component", statistic = "Sum" }
  }
  plain = {
    "Predictions, p95 (ms)"         = [["fraudit", "PredictLatency", "stage", var.stage, { stat = "p95" }]]
    "Age of events when stored (s)" = [["fraudit", "IteratorAgeMs", "stage", var.stage, { stat = "Maximum", visible = false, id = "age" }], [{ expression = "age / 1000", label = "oldest" }]]
    "Events stored a minute"        = [["fraudit", "BatchRows", "stage", var.stage, { stat = "Sum" }]]
    "Batches, p95 (ms)"             = [["fraudit", "BatchDurationMs", "stage", var.stage, { stat = "p95" }]]
    "Dead letters a minute"         = [["fraudit", "DeadLetters", "stage", var.stage, { stat = "Sum" }]]
    "Database, CPU (%)"             = [["AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", var.watched.database, { stat = "Average" }]]
  }
  charts = concat(
    [for title, it in local.searched : {
      title   = title
      metrics = [[{ expression = "SEARCH('{fraudit,stage,${it.dimension}} MetricName=\"${it.metric}\" stage=\"${var.stage}\"', '${it.statistic}', 60)" }]]
    }],
    [for title, metrics in local.plain : { title = title, metrics = metrics }],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [for number, chart in local.charts : {
      type   = "metric"
      x      = number % 3 * 8
      y      = floor(number / 3) * 6
      width  = 8
      height = 6
      properties = {
        title   = chart.title
        region  = local.region
        view    = "timeSeries"
        period  = 60
        metrics = chart.metrics
      }
    }]
  })
}

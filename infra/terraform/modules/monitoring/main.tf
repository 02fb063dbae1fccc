# Who hears of what, and what it costs: topics, their key's users, a budget. Alarms are in alarms.tf, the page in dashboard.tf.

data "aws_caller_identity" "here" {}

data "aws_region" "here" {}

locals {
  account = data.aws_caller_identity.here.account_id
  region  = data.aws_region.here.region
  topics = {
    alerts     = "fraud-alerts"       # a transaction was blocked
    operations = "fraudit-operations" # something is wrong
  }
}

resource "aws_sns_topic" "this" {
  for_each          = local.topics
  name              = each.value
  kms_master_key_id = var.kms_key_arn
}

# Of the account's own roles each has its policy; besides, AWS's alarms and budgets tell the operators.
resource "aws_sns_topic_policy" "this" {
  for_each = aws_sns_topic.this
  arn      = each.value.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = each.value.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }],
      each.key == "operations" ? [{
        Sid       = "AlarmsAndBudgets"
        Effect    = "Allow"
        Principal = { Service = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"] }
        Action    = "sns:Publish"
        Resource  = each.value.arn
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      }] : [],
    )
  })
}

# AWS asks each address whether it wants this.
resource "aws_sns_topic_subscription" "operations" {
  for_each  = var.operators
  topic_arn = aws_sns_topic.this["operations"].arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_budgets_budget" "month" {
  name         = var.name
  budget_type  = "COST"
  limit_amount = tostring(var.budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"
  cost_filter {
    name   = "TagKeyValue"
    values = ["user:project$fraudit-${var.stage}"]
  }
  notification {
    comparison_operator       = "GREATER_THAN"
    threshold                 = 80
    threshold_type            = "PERCENTAGE"
    notification_type         = "ACTUAL"
    subscriber_sns_topic_arns = [aws_sns_topic.this["operations"].arn]
  }
  notification {
    comparison_operator       = "GREATER_THAN"
    threshold                 = 100
    threshold_type            = "PERCENTAGE"
    notification_type         = "FORECASTED"
    subscriber_sns_topic_arns = [aws_sns_topic.this["operations"].arn]
  }
}

output "alerts_topic_arn" {
  description = "Hears of blocked transactions: ALERTS_TOPIC_ARN."
  value       = aws_sns_topic.this["alerts"].arn
}

output "operations_topic_arn" {
  description = "Hears what is wrong: OPERATIONS_TOPIC_ARN."
  value       = aws_sns_topic.this["operations"].arn
}

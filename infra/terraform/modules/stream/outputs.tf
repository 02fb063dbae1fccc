output "name" {
  description = "Of the stream."
  value       = aws_kinesis_stream.this.name
}

output "arn" {
  description = "Of the stream."
  value       = aws_kinesis_stream.this.arn
}

output "arn" {
  description = "Of the bucket."
  value       = aws_s3_bucket.this.arn
}

output "name" {
  description = "Of the bucket."
  value       = aws_s3_bucket.this.bucket
}

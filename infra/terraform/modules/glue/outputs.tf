output "job_name" {
  description = "Of the job: GLUE_JOB_NAME."
  value       = aws_glue_job.this.name
}

output "role_arn" {
  description = "What the job works as."
  value       = aws_iam_role.this.arn
}

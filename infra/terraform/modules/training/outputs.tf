output "role_arn" {
  description = "What training jobs and endpoints work as: SAGEMAKER_ROLE_ARN."
  value       = aws_iam_role.sagemaker.arn
}

output "notebook_name" {
  description = "Of the notebook; null where there is none."
  value       = one(aws_sagemaker_notebook_instance.this[*].name)
}

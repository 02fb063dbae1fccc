variable "solution_prefix" {
  description = "Starts the names of models, endpoints and roles."
  type        = string
}

variable "bucket_arns" {
  description = "By data, stream, models."
  type        = map(string)
}

variable "kms_key_arn" {
  description = "Key of buckets and volumes."
  type        = string
}

variable "algorithm_repositories" {
  description = "Accounts and repositories of SageMaker's own containers in this region, as account:repository/name."
  type        = list(string)
}

variable "vpc_id" {
  description = "Where the notebook is."
  type        = string
}

variable "subnet_id" {
  description = "Private subnet of the notebook."
  type        = string
}

variable "notebook" {
  description = "Whether there is a notebook."
  type        = bool
}

variable "notebook_instance_type" {
  description = "Such as ml.t3.medium."
  type        = string
}

variable "notebook_volume_gb" {
  description = "Of the notebook's disk."
  type        = number
}

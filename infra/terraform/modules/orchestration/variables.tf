variable "name" {
  description = "Starts the names of everything here."
  type        = string
}

variable "solution_prefix" {
  description = "Starts the names of models, endpoints and roles."
  type        = string
}

variable "settings" {
  description = "Variables of .env.example that every task has."
  type        = map(string)
}

variable "image_tag" {
  description = "Of the image `graph` in the repository that is made here."
  type        = string
}

variable "running" {
  description = "Whether the services run; they cannot before the image and Dagster's database are there."
  type        = bool
}

variable "code_size" {
  description = "CPU units and memory in MiB of the code server, whose container the runs live in."
  type        = object({ cpu = number, memory = number })
}

variable "dashboard_users" {
  description = "E-mail addresses of those who may see the dashboard; without any it does not run."
  type        = set(string)
}

variable "vpc_id" {
  description = "Where the tasks are."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of the tasks."
  type        = list(string)
}

variable "warehouse" {
  description = "The database, and the secret of its owner."
  type        = object({ address = string, port = number, security_group_id = string, owner_secret_arn = string })
}

variable "role_secret_arns" {
  description = "Logins of the database's roles, by writer, analyst, reader."
  type        = map(string)
}

variable "api_keys_secret_arn" {
  description = "Of the secret with the hashed API keys."
  type        = string
}

variable "stream_arn" {
  description = "Kinesis stream of the events."
  type        = string
}

variable "glue_job_name" {
  description = "Of the stream job."
  type        = string
}

variable "sagemaker_role_arn" {
  description = "What training jobs and endpoints work as; Dagster hands it over."
  type        = string
}

variable "operations_topic_arn" {
  description = "Hears what is wrong."
  type        = string
}

variable "bucket_arns" {
  description = "By data, stream, models."
  type        = map(string)
}

variable "kms_key_arn" {
  description = "Key of what tasks read and write."
  type        = string
}

variable "log_days" {
  description = "How long logs are kept, in days."
  type        = number
}

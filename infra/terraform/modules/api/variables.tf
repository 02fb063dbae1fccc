variable "name" {
  description = "Of the API."
  type        = string
}

variable "stage" {
  description = "Of the deployment: dev, prod."
  type        = string
}

variable "solution_prefix" {
  description = "Starts the names of models, endpoints and roles."
  type        = string
}

variable "contract" {
  description = "Name of the data contract; a manifest of another is refused."
  type        = string
}

variable "keys_secret" {
  description = "Name of the secret with the hashed API keys."
  type        = string
}

variable "package" {
  description = "Zip that `make package` made; of the first deployment alone."
  type        = string
}

variable "stream_name" {
  description = "Kinesis stream of the events."
  type        = string
}

variable "stream_arn" {
  description = "Of the same stream."
  type        = string
}

variable "bucket_arns" {
  description = "By data, stream, models."
  type        = map(string)
}

variable "bucket_names" {
  description = "By data, stream, models."
  type        = map(string)
}

variable "alerts_topic_arn" {
  description = "Hears of blocked transactions."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of what it reads and writes."
  type        = string
}

variable "rate" {
  description = "Requests a second that the stage takes."
  type        = number
}

variable "burst" {
  description = "Requests at once that the stage takes."
  type        = number
}

variable "reserved_concurrency" {
  description = "Executions kept for each function, and its most; -1: none are kept."
  type        = number
}

variable "log_days" {
  description = "How long logs are kept, in days."
  type        = number
}

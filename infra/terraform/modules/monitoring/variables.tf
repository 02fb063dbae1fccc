variable "name" {
  description = "Starts the names of everything here."
  type        = string
}

variable "stage" {
  description = "Of the deployment: the dimension of its metrics."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the messages at rest."
  type        = string
}

variable "operators" {
  description = "E-mail addresses that hear what is wrong."
  type        = set(string)
}

variable "budget_usd" {
  description = "Of a month, in US dollars; at 80 % of it the operators hear of it."
  type        = number
}

variable "traffic_at_all_hours" {
  description = "Whether half an hour without a transaction is a fault."
  type        = bool
}

variable "limits" {
  description = "What is no longer well: latency of a prediction and age of an event in ms, blocked transactions in a minute."
  type        = object({ latency_ms = number, iterator_age_ms = number, blocked_in_a_minute = number })
}

variable "watched" {
  description = "Names of what AWS counts."
  type        = object({ api_name = string, function_name = string, stream_name = string, database = string })
}

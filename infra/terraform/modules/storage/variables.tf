variable "name" {
  description = "Starts the names of everything here."
  type        = string
}

variable "data_bucket" {
  description = "Of raw tables, their parts and archives."
  type        = string
}

variable "stream_bucket" {
  description = "Of the stream job's artefacts, checkpoints and dead letters."
  type        = string
}

variable "model_bucket" {
  description = "Of model artefacts, records of the graph and the serving manifest."
  type        = string
}

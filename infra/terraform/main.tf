# fraudit on AWS: one deployment of it in one account and region. What each part is stands at the head of its module.

locals {
  name            = "fraudit-${var.stage}"
  solution_prefix = "fraud-detection"
  api_name        = "ml-inference-api"
  api_keys_secret = "fraudit/api-keys"
  database        = "fraudit_postgres_db"
  secrets         = "fraudit/warehouse"
  stream_name     = "fraud-predictions-stream"
  glue_job_name   = "fraudit-streaming-job"
  warehouse = {
    address           = module.warehouse.address
    port              = module.warehouse.port
    security_group_id = module.warehouse.security_group_id
    owner_secret_arn  = module.warehouse.owner_secret_arn
  }
  # Names of variables as .env.example has them; `terraform output -json settings` for a shell beside it.
  settings = {
    AWS_REGION                = var.region
    FRAUDIT_STAGE             = var.stage
    FRAUDIT_SOLUTION_PREFIX   = local.solution_prefix
    FRAUDIT_AUTOMATION        = join(",", sort(var.automation))
    FRAUDIT_DATASET           = "s3://${module.storage.bucket_names.data}/${var.dataset}"
    SPARK_DATA_BUCKET         = module.storage.bucket_names.data
    SPARK_STREAMING_BUCKET    = module.storage.bucket_names.stream
    MODEL_BUCKET              = module.storage.bucket_names.models
    KINESIS_STREAM_NAME       = module.stream.name
    GLUE_JOB_NAME             = module.glue.job_name
    SAGEMAKER_ROLE_ARN        = module.training.role_arn
    LAMBDA_EXEC_ROLE_ARN      = module.api.role_arn
    POSTGRES_DB               = local.database
    FRAUDIT_WAREHOUSE_SECRETS = local.secrets
    FRAUDIT_API_KEYS_SECRET   = local.api_keys_secret
    CHALICE_API_URL           = module.api.url
    ALERTS_TOPIC_ARN          = module.monitoring.alerts_topic_arn
    OPERATIONS_TOPIC_ARN      = module.monitoring.operations_topic_arn
  }
}

module "storage" {
  source        = "./modules/storage"
  name          = local.name
  data_bucket   = "fraud-detection-data-bucket-${var.region}-${var.account}"
  stream_bucket = "fraud-detection-stream-bucket-${var.region}-${var.account}"
  model_bucket  = "fraud-detection-models-${var.region}-${var.account}"
}

module "network" {
  source              = "./modules/network"
  name                = local.name
  cidr                = var.cidr
  zones               = var.zones
  nat_per_zone        = var.nat_per_zone
  interface_endpoints = var.interface_endpoints
  kms_key_arn         = module.storage.kms_key_arn
  log_days            = var.log_days
}

module "stream" {
  source          = "./modules/stream"
  name            = local.stream_name
  shards          = var.shards
  retention_hours = var.retention_hours
  kms_key_arn     = module.storage.kms_key_arn
}

module "warehouse" {
  source         = "./modules/warehouse"
  name           = local.name
  database       = local.database
  secrets        = local.secrets
  vpc_id         = module.network.vpc_id
  subnet_ids     = module.network.private_subnet_ids
  instance_class = var.database.instance_class
  storage_gb     = var.database.storage_gb
  multi_az       = var.database.multi_az
  protected      = var.database.protected
  log_days       = var.log_days
  kms_key_arn    = module.storage.kms_key_arn
}

module "training" {
  source                 = "./modules/training"
  solution_prefix        = local.solution_prefix
  bucket_arns            = module.storage.bucket_arns
  kms_key_arn            = module.storage.kms_key_arn
  algorithm_repositories = var.algorithm_repositories
  vpc_id                 = module.network.vpc_id
  subnet_id              = module.network.private_subnet_ids[0]
  notebook               = var.notebook.present
  notebook_instance_type = var.notebook.instance_type
  notebook_volume_gb     = var.notebook.volume_gb
}

module "api" {
  source               = "./modules/api"
  name                 = local.api_name
  stage                = var.stage
  solution_prefix      = local.solution_prefix
  contract             = var.contract
  keys_secret          = local.api_keys_secret
  package              = var.api_package
  stream_name          = module.stream.name
  stream_arn           = module.stream.arn
  bucket_arns          = module.storage.bucket_arns
  bucket_names         = module.storage.bucket_names
  alerts_topic_arn     = module.monitoring.alerts_topic_arn
  kms_key_arn          = module.storage.kms_key_arn
  rate                 = var.api_rate
  burst                = var.api_burst
  reserved_concurrency = var.api_reserved_concurrency
  log_days             = var.log_days
}

module "glue" {
  source             = "./modules/glue"
  name               = local.glue_job_name
  stage              = var.stage
  solution_prefix    = local.solution_prefix
  stream_name        = module.stream.name
  stream_arn         = module.stream.arn
  stream_bucket_name = module.storage.bucket_names.stream
  stream_bucket_arn  = module.storage.bucket_arns.stream
  writer_secret_arn  = module.warehouse.role_secret_arns.writer
  kms_key_arn        = module.storage.kms_key_arn
  vpc_id             = module.network.vpc_id
  subnet_id          = module.network.private_subnet_ids[0]
  zone               = module.network.first_zone
  warehouse          = { security_group_id = local.warehouse.security_group_id, port = local.warehouse.port }
  worker_type        = var.glue.worker_type
  most_workers       = var.glue.most_workers
  trigger_s          = var.glue.trigger_s
}

module "orchestration" {
  source               = "./modules/orchestration"
  name                 = local.name
  solution_prefix      = local.solution_prefix
  settings             = local.settings
  image_tag            = var.image_tag
  running              = var.running
  code_size            = var.code_size
  dashboard_users      = var.dashboard_users
  vpc_id               = module.network.vpc_id
  subnet_ids           = module.network.private_subnet_ids
  warehouse            = local.warehouse
  role_secret_arns     = module.warehouse.role_secret_arns
  api_keys_secret_arn  = module.api.keys_secret_arn
  stream_arn           = module.stream.arn
  glue_job_name        = local.glue_job_name
  sagemaker_role_arn   = module.training.role_arn
  operations_topic_arn = module.monitoring.operations_topic_arn
  bucket_arns          = module.storage.bucket_arns
  kms_key_arn          = module.storage.kms_key_arn
  log_days             = var.log_days
}

module "monitoring" {
  source               = "./modules/monitoring"
  name                 = local.name
  stage                = var.stage
  kms_key_arn          = module.storage.kms_key_arn
  operators            = var.operators
  budget_usd           = var.budget_usd
  traffic_at_all_hours = var.traffic_at_all_hours
  limits               = var.limits
  watched = {
    api_name      = "${local.api_name}-${var.stage}"
    function_name = module.api.function_names.app
    stream_name   = local.stream_name
    database      = module.warehouse.identifier
  }
}

# PostgreSQL: private, encrypted, TLS only; AWS keeps and changes the owner's password.

resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_security_group" "this" {
  name        = "${var.name}-warehouse"
  description = "PostgreSQL, for those who are let in one by one"
  vpc_id      = var.vpc_id
}

resource "aws_db_parameter_group" "this" {
  name   = var.name
  family = "postgres17"
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
  parameter {
    name  = "log_connections"
    value = "1"
  }
  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }
  # Statements have customers' ids in them: only those that change tables are logged.
  parameter {
    name  = "log_statement"
    value = "ddl"
  }
}

resource "aws_db_instance" "this" {
  identifier                      = var.name
  engine                          = "postgres"
  engine_version                  = "17" # AWS keeps the minor version new
  instance_class                  = var.instance_class
  db_name                         = var.database
  username                        = "fraud_owner"
  manage_master_user_password     = true
  master_user_secret_kms_key_id   = var.kms_key_arn
  allocated_storage               = var.storage_gb
  max_allocated_storage           = var.storage_gb * 4
  storage_type                    = "gp3"
  storage_encrypted               = true
  kms_key_id                      = var.kms_key_arn
  publicly_accessible             = false
  db_subnet_group_name            = aws_db_subnet_group.this.name
  vpc_security_group_ids          = [aws_security_group.this.id]
  parameter_group_name            = aws_db_parameter_group.this.name
  ca_cert_identifier              = "rds-ca-rsa2048-g1"
  multi_az                        = var.multi_az
  backup_retention_period         = 7
  copy_tags_to_snapshot           = true
  deletion_protection             = var.protected
  skip_final_snapshot             = !var.protected
  final_snapshot_identifier       = var.protected ? "${var.name}-final" : null
  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.monitoring.arn
  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.kms_key_arn
  # Tables that the API fills must not wait for a whole day: AWS gives minor versions in this hour.
  maintenance_window = "sun:03:00-sun:04:00"
  backup_window      = "01:00-02:00"
  depends_on         = [aws_cloudwatch_log_group.this]
}

# RDS would make them without an end.
resource "aws_cloudwatch_log_group" "this" {
  for_each          = toset(["postgresql", "upgrade"])
  name              = "/aws/rds/instance/${var.name}/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_iam_role" "monitoring" {
  name = "${var.name}-database-monitoring"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
    }]
  })
}

# AWS's own policy for this; it allows one log group of RDS and nothing else.
resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

# Of the roles that programs log in with. `fraudit warehouse migrate` makes the passwords, so that no state of Terraform has one.
resource "aws_secretsmanager_secret" "role" {
  for_each   = toset(["writer", "analyst", "reader"])
  name       = "${var.secrets}/${each.key}"
  kms_key_id = var.kms_key_arn
}

resource "aws_secretsmanager_secret_version" "role" {
  for_each      = aws_secretsmanager_secret.role
  secret_id     = each.value.id
  secret_string = jsonencode({ username = "fraud_${each.key}" })
  lifecycle {
    ignore_changes = [secret_string]
  }
}

# What runs: four services, and what is run once at a time by `aws ecs run-task`.

locals {
  web       = "python -c \"import urllib.request as r; r.urlopen('http://127.0.0.1:%s', timeout=4)\""
  workspace = ["--workspace", "infra/dagster/workspace.yaml"]
  none      = tomap({})

  tasks = {
    code = {
      runs    = true, group = "code", role = "dagster", port = 4000, cpu = var.code_size.cpu, memory = var.code_size.memory
      command = ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", "fraudit_dagster.definitions"]
      health  = "dagster api grpc-health-check --port 4000"
      secrets = local.dagster_login
      extra   = local.none
    }
    webserver = {
      runs    = true, group = "web", role = "dagster", port = 3000, cpu = 512, memory = 1024
      command = concat(["dagster-webserver", "--host", "0.0.0.0", "--port", "3000"], local.workspace)
      health  = format(local.web, "3000/server_info")
      secrets = local.dagster_login
      extra   = tomap({ DAGSTER_CODE_SERVER = "code.${local.domain}" })
    }
    daemon = {
      runs    = true, group = "web", role = "dagster", port = null, cpu = 512, memory = 1024
      command = concat(["dagster-daemon", "run"], local.workspace)
      health  = "dagster-daemon liveness-check"
      secrets = local.dagster_login
      extra   = tomap({ DAGSTER_CODE_SERVER = "code.${local.domain}" })
    }
    dashboard = {
      runs = true, group = "dashboard", role = "dashboard", port = 8501, cpu = 512, memory = 1024
      # Streamlit takes its sign-in from a file alone.
      command = ["sh", "-ec", "mkdir -p ~/.streamlit; printenv STREAMLIT_SIGN_IN > ~/.streamlit/secrets.toml; exec env -u STREAMLIT_SIGN_IN python -m dashboard.server --host 0.0.0.0 --port 8501"]
      health  = format(local.web, "8501/_stcore/health")
      secrets = tomap({
        STREAMLIT_SIGN_IN = "${aws_secretsmanager_secret.dashboard.arn}:sign_in::"
        FRAUDIT_API_KEY   = "${aws_secretsmanager_secret.dashboard.arn}:api_key::"
      })
      extra = tomap({ FRAUDIT_DASHBOARD_USERS = join(",", var.dashboard_users) })
    }
    # Migrations, passwords of the database's roles, code of the stream job.
    migrate = {
      runs    = false, group = "once", role = "migrate", port = null, cpu = 512, memory = 1024
      command = ["fraudit", "prepare"]
      health  = null
      secrets = local.owner_login
      extra   = local.none
    }
    # Dagster's own database and login.
    dagster-database = {
      runs    = false, group = "once", role = "dagster-database", port = null, cpu = 256, memory = 512
      command = ["python", "infra/dagster/database.py"]
      health  = null
      secrets = local.owner_login
      extra   = tomap({ DAGSTER_POSTGRES_SECRET = aws_secretsmanager_secret.dagster.name })
    }
    # Some transactions through all parts, and whether they are stored.
    smoke = {
      runs    = false, group = "once", role = "smoke", port = null, cpu = 1024, memory = 2048
      command = ["fraudit", "smoke"]
      health  = null
      secrets = tomap({ FRAUDIT_API_KEY = "${aws_secretsmanager_secret.dashboard.arn}:api_key::" })
      extra   = local.none
    }
  }

  dagster_login = tomap({
    DAGSTER_POSTGRES_USER     = "${aws_secretsmanager_secret.dagster.arn}:username::"
    DAGSTER_POSTGRES_PASSWORD = "${aws_secretsmanager_secret.dagster.arn}:password::"
  })
  owner_login = tomap({
    POSTGRES_USER     = "${var.warehouse.owner_secret_arn}:username::"
    POSTGRES_PASSWORD = "${var.warehouse.owner_secret_arn}:password::"
  })
  environment = merge(var.settings, {
    POSTGRES_HOST       = var.warehouse.address
    POSTGRES_PORT       = tostring(var.warehouse.port)
    POSTGRES_SSLMODE    = "require"
    PGSSLMODE           = "require"
    DAGSTER_POSTGRES_DB = "dagster"
    FRAUDIT_DAGSTER_URL = "http://localhost:3000" # through the door
  })
  # A root that cannot be written, with these writable: the image says whose they are.
  writable = { state = "/var/lib/fraudit", home = "/home/fraudit", tmp = "/tmp" }
}

resource "aws_ecs_task_definition" "this" {
  for_each                 = local.tasks
  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = tostring(each.value.cpu)
  memory                   = tostring(each.value.memory)
  task_role_arn            = aws_iam_role.task[each.value.role].arn
  execution_role_arn       = aws_iam_role.start[each.value.role].arn
  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "X86_64"
  }
  dynamic "volume" {
    for_each = local.writable
    content {
      name = volume.key
    }
  }
  container_definitions = jsonencode([merge({
    name                   = each.key
    image                  = "${aws_ecr_repository.this.repository_url}:${var.image_tag}"
    essential              = true
    command                = each.value.command
    user                   = "10001:10001"
    readonlyRootFilesystem = true
    stopTimeout            = 120
    linuxParameters        = { initProcessEnabled = true, capabilities = { drop = ["ALL"] } }
    environment            = [for name, value in merge(local.environment, each.value.extra) : { name = name, value = value }]
    secrets                = [for name, value in each.value.secrets : { name = name, valueFrom = value }]
    mountPoints            = [for volume, path in local.writable : { sourceVolume = volume, containerPath = path, readOnly = false }]
    portMappings           = each.value.port == null ? [] : [{ containerPort = each.value.port, protocol = "tcp" }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = local.region
        awslogs-stream-prefix = each.key
      }
    }
    }, each.value.health == null ? {} : {
    healthCheck = { command = ["CMD-SHELL", each.value.health], interval = 30, timeout = 10, retries = 3, startPeriod = 120 }
  })])
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/ecs/${var.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

# The task dagster-database puts the password here, so that no state of Terraform has one.
resource "aws_secretsmanager_secret" "dagster" {
  name        = "fraudit/dagster-database"
  description = "Login of Dagster at its own database"
  kms_key_id  = var.kms_key_arn
}

resource "aws_secretsmanager_secret_version" "dagster" {
  secret_id     = aws_secretsmanager_secret.dagster.id
  secret_string = jsonencode({ username = "dagster" })
  lifecycle {
    ignore_changes = [secret_string]
  }
}

# A person fills it: docs/deploy.md says when, and with what.
resource "aws_secretsmanager_secret" "dashboard" {
  name        = "fraudit/dashboard"
  description = "JSON: sign_in, the text of Streamlit's secrets.toml; api_key, of the prediction API"
  kms_key_id  = var.kms_key_arn
}

# Who may reach whom: tasks the database and AWS, the webserver and the daemon the code server, the door the pages.

locals {
  groups = {
    code      = "Dagster's code server and its runs"
    web       = "Dagster's webserver and daemon"
    dashboard = "The dashboard"
    once      = "Tasks that run once"
    door      = "The way in for people"
  }
  at_database = toset(["code", "web", "dashboard", "once"])
  within = {
    code      = { from = "web", to = "code", port = 4000 }
    webserver = { from = "door", to = "web", port = 3000 }
    dashboard = { from = "door", to = "dashboard", port = 8501 }
  }
}

resource "aws_security_group" "this" {
  for_each    = local.groups
  name        = "${var.name}-${each.key}"
  description = each.value
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "aws" {
  for_each          = local.groups
  security_group_id = aws_security_group.this[each.key].id
  description       = "HTTPS to AWS, to the API, to a sign-in"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "within" {
  for_each                     = local.within
  security_group_id            = aws_security_group.this[each.value.from].id
  description                  = "To ${each.key}"
  referenced_security_group_id = aws_security_group.this[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "within" {
  for_each                     = local.within
  security_group_id            = aws_security_group.this[each.value.to].id
  description                  = "To ${each.key}"
  referenced_security_group_id = aws_security_group.this[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "database" {
  for_each                     = local.at_database
  security_group_id            = aws_security_group.this[each.key].id
  description                  = "PostgreSQL"
  referenced_security_group_id = var.warehouse.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = var.warehouse.port
  to_port                      = var.warehouse.port
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  for_each                     = local.at_database
  security_group_id            = var.warehouse.security_group_id
  description                  = local.groups[each.key]
  referenced_security_group_id = aws_security_group.this[each.key].id
  ip_protocol                  = "tcp"
  from_port                    = var.warehouse.port
  to_port                      = var.warehouse.port
}

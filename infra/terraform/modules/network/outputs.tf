output "vpc_id" {
  description = "Of the VPC."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "One for each zone, in the order of the zones."
  value       = [for zone in local.zones : aws_subnet.private[zone].id]
}

output "first_zone" {
  description = "The zone of the first private subnet."
  value       = local.zones[0]
}

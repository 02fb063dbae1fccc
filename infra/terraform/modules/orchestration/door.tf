# The way in for people: a small machine that nothing reaches and nobody logs in to. Session Manager forwards a port through it to
# the webserver or the dashboard, for whom IAM lets, and keeps a trail of it.

data "aws_ssm_parameter" "image" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
}

resource "aws_instance" "door" {
  ami                    = data.aws_ssm_parameter.image.insecure_value
  instance_type          = "t4g.nano"
  subnet_id              = var.subnet_ids[0]
  vpc_security_group_ids = [aws_security_group.this["door"].id]
  iam_instance_profile   = aws_iam_instance_profile.door.name
  ebs_optimized          = true
  monitoring             = true
  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }
  root_block_device {
    encrypted  = true
    kms_key_id = var.kms_key_arn
  }
  tags = { Name = "${var.name}-door" }
  lifecycle {
    # A newer image is no reason to close the door on who is in it.
    ignore_changes = [ami]
  }
}

resource "aws_iam_instance_profile" "door" {
  name = "${var.solution_prefix}-door"
  role = aws_iam_role.door.name
}

resource "aws_iam_role" "door" {
  name = "${var.solution_prefix}-door"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

# AWS's own policy for this: what the agent of Session Manager asks for.
resource "aws_iam_role_policy_attachment" "door" {
  role       = aws_iam_role.door.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

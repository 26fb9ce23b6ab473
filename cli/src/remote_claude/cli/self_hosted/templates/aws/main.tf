# Remote Claude on AWS, compute only: the same as compute.yaml, for Terraform. Tasks run as Fargate tasks, the control plane runs
# elsewhere. A task has no AWS credentials and reaches the gateway and the endpoints that load its image and take its log.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { remote-claude = "compute" }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_availability_zones" "available" { state = "available" }

locals {
  arn = "arn:${data.aws_partition.current.partition}"
  own = "${var.region}:${data.aws_caller_identity.current.account_id}"
}

resource "aws_vpc" "tasks" {
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
}

# The group that every VPC has lets nothing pass.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.tasks.id
}

resource "aws_internet_gateway" "tasks" {
  vpc_id = aws_vpc.tasks.id
}

resource "aws_route_table" "tasks" {
  vpc_id = aws_vpc.tasks.id
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.tasks.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.tasks.id
}

resource "aws_subnet" "tasks" {
  count                   = 2
  vpc_id                  = aws_vpc.tasks.id
  cidr_block              = cidrsubnet(var.cidr, 1, count.index)
  availability_zone       = data.aws_availability_zones.available.names[count.index]
  map_public_ip_on_launch = false
}

resource "aws_route_table_association" "tasks" {
  count          = 2
  subnet_id      = aws_subnet.tasks[count.index].id
  route_table_id = aws_route_table.tasks.id
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "Endpoints of AWS services, for the tasks of Remote Claude"
  vpc_id      = aws_vpc.tasks.id

  ingress {
    description = "HTTPS from the tasks"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = [var.cidr]
  }
}

resource "aws_security_group" "tasks" {
  name        = "${var.name}-tasks"
  description = "Tasks of Remote Claude - nothing in, out to the gateway and the endpoints only"
  vpc_id      = aws_vpc.tasks.id

  egress {
    description = "The gateway"
    protocol    = "tcp"
    from_port   = var.gateway_port
    to_port     = var.gateway_port
    cidr_blocks = [var.gateway_cidr]
  }

  egress {
    description     = "Image and log"
    protocol        = "tcp"
    from_port       = 443
    to_port         = 443
    security_groups = [aws_security_group.endpoints.id]
  }

  egress {
    description     = "Layers of the image"
    protocol        = "tcp"
    from_port       = 443
    to_port         = 443
    prefix_list_ids = [aws_vpc_endpoint.s3.prefix_list_id]
  }
}

resource "aws_vpc_endpoint" "interface" {
  for_each            = toset(["ecr.api", "ecr.dkr", "logs"])
  vpc_id              = aws_vpc.tasks.id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${var.region}.${each.value}"
  subnet_ids          = [aws_subnet.tasks[0].id]
  security_group_ids  = [aws_security_group.endpoints.id]
  private_dns_enabled = true
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.tasks.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${var.region}.s3"
  route_table_ids   = [aws_route_table.tasks.id]
}

resource "aws_ecr_repository" "worker" {
  name         = "${var.name}/worker"
  force_delete = true

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecs_cluster" "tasks" {
  name = var.name
}

resource "aws_ecs_cluster_capacity_providers" "tasks" {
  cluster_name       = aws_ecs_cluster.tasks.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_cloudwatch_log_group" "worker" {
  name              = "/${var.name}/worker"
  retention_in_days = var.log_retention_days
}

resource "aws_iam_role" "execution" {
  name_prefix = "${var.name}-execution-"
  description = "Lets ECS load the worker's image and write its log. The worker itself has no role."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "execution" {
  name = "worker"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "ecr:GetAuthorizationToken", Resource = "*" },
      {
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = "${local.arn}:ecr:${local.own}:repository/*"
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.worker.arn}:*"
      },
    ]
  })
}

resource "aws_ecs_task_definition" "worker" {
  family                   = "${var.name}-worker"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.execution.arn

  runtime_platform {
    cpu_architecture        = "X86_64"
    operating_system_family = "LINUX"
  }

  container_definitions = jsonencode([{
    name            = "worker"
    image           = var.image != "" ? var.image : "${aws_ecr_repository.worker.repository_url}:latest"
    essential       = true
    user            = "1000:1000"
    stopTimeout     = 10
    linuxParameters = { capabilities = { drop = ["ALL"] } }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.worker.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "worker"
      }
    }
  }])
}

resource "aws_iam_policy" "runner" {
  name_prefix = "${var.name}-runner-"
  description = "What the runner of Remote Claude may do - start, see and stop tasks of this cluster"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Action    = "ecs:RunTask"
        Resource  = "${local.arn}:ecs:${local.own}:task-definition/${var.name}-worker:*"
        Condition = { ArnEquals = { "ecs:cluster" = aws_ecs_cluster.tasks.arn } }
      },
      {
        Effect   = "Allow"
        Action   = ["ecs:DescribeTasks", "ecs:StopTask"]
        Resource = "${local.arn}:ecs:${local.own}:task/${var.name}/*"
      },
      {
        Effect    = "Allow"
        Action    = "ecs:TagResource"
        Resource  = "${local.arn}:ecs:${local.own}:task/${var.name}/*"
        Condition = { StringEquals = { "ecs:CreateAction" = "RunTask" } }
      },
      {
        Effect    = "Allow"
        Action    = "ecs:ListTasks"
        Resource  = "*"
        Condition = { ArnEquals = { "ecs:cluster" = aws_ecs_cluster.tasks.arn } }
      },
      { Effect = "Allow", Action = "ecs:DescribeTaskDefinition", Resource = "*" },
      {
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = aws_iam_role.execution.arn
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
      {
        Effect   = "Allow"
        Action   = "logs:GetLogEvents"
        Resource = "${aws_cloudwatch_log_group.worker.arn}:*"
      },
    ]
  })
}

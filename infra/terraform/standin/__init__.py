"""A stand-in for the provider hashicorp/aws, so that the real Terraform plans and tests the modules without an account.

It speaks Terraform's plugin protocol and has the provider's schema. It makes nothing.
"""

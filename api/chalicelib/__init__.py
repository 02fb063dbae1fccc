"""The parts of the prediction API; ``app.py`` holds the routes.

Standard library and boto3 only: both are in the Lambda runtime, so the package stays small and a cold start short.
"""

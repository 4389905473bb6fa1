"""What tests of several rooms share: models, histories, made-up searches."""

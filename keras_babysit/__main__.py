"""`python -m keras_babysit` is the `keras-babysit` command."""

from keras_babysit.cli.main import main

if __name__ == "__main__":
    main(prog_name="keras-babysit")

#!/bin/sh
# pytest-kind would download a kubectl of its own; this is the one of the machine.
exec kubectl "$@"

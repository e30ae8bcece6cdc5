"""The examples of the verbs on keys, apart from the code so that both stay readable."""

from __future__ import annotations

GET = """
# Read a key, sure to see every write acknowledged before
$ holdfast get device/17/brightness

# From any replica, at most half a second old
$ holdfast get device/17/brightness --bound 500ms --or-linearizable

# See what this session wrote, whichever replica answers
$ holdfast put device/17/brightness 80 --session ./session
$ holdfast get device/17/brightness --session ./session
"""

PUT = """
# Write a key
$ holdfast put device/17/brightness 80

# For an hour, and only if nobody has set it
$ holdfast put device/17/override '{"mode":"eco"}' --ttl 1h --if-absent

# A value from a file
$ holdfast put device/17/firmware --file ./manifest.json
"""

DEL = """
# Delete a key
$ holdfast del device/17/brightness

# Everything of a device, at once
$ holdfast del --prefix device/17/

# A whole fleet, in pages
$ holdfast del --prefix device/ --paged
"""

CAS = """
# Write only if nobody else has since revision 42
$ holdfast cas device/17/brightness 42 60

# Create only
$ holdfast cas device/17/owner 0 alice
"""

INCR = """
# Add one
$ holdfast incr device/17/reboots

# Take five, but never below zero
$ holdfast incr --min 0 -- device/17/credits -5
"""

TOUCH = """
# Let a key live another ten minutes
$ holdfast touch device/17/override --ttl 10m
"""

SCAN = """
# Everything of a device
$ holdfast scan device/17/

# The first ten keys, without values
$ holdfast scan --limit 10 --keys-only

# How many keys there are
$ holdfast scan device/ --count
"""

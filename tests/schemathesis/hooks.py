"""Lets generated requests come past the names, so that they reach what lies behind."""

import schemathesis

NAMES = {"model": "starter", "dataset": "digits", "eval_dataset": None}


@schemathesis.hook
def map_body(context, body):
    """Fills in names that exist, where a body has a place for them."""
    if isinstance(body, dict):
        for field, name in NAMES.items():
            if isinstance(body.get(field), str):
                body[field] = name
    return body

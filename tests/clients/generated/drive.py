"""Submit, watch, generate: with the client that openapi-python-client makes. VGPO_URL names the server."""

import os
import time

from vgpo_client import Client
from vgpo_client.api.inference import generate
from vgpo_client.api.jobs import create_job, get_job, job_events
from vgpo_client.models import GenerateAnswer, GenerateRequest, Job, JobRequest, ListingEvent, Problem, SubmittedJob

JOB = {"model": "starter", "dataset": "digits", "steps": 1, "eval_before": False, "eval_every": 0,
       "rollout": {"group_size": 2, "max_new_tokens": 8, "filter": None},
       "batch": {"prompts_per_step": 2, "minibatch_prompts": 2}, "tags": {"client": "python"}}


def kind(value, wanted):
    """The value, which must be of the wanted type: problems come as values too."""
    assert isinstance(value, wanted), value
    return value


def watch(client, job_id):
    """Reads events until the job has ended; returns its kinds of events."""
    seen, after = [], "0"
    for _ in range(600):
        page = kind(job_events.sync(job_id, client=client, after=after, limit=50), ListingEvent)
        seen += [event.kind for event in page.data]
        after = str(page.data[-1].seq) if page.data else after
        job = kind(get_job.sync(job_id, client=client), Job)
        if not page.data and job.state.value in ("succeeded", "failed", "cancelled"):
            return job, seen
        time.sleep(0.2)
    raise TimeoutError(job_id)


client = Client(base_url=os.environ["VGPO_URL"], raise_on_unexpected_status=True)
wrong = create_job.sync(client=client, body=JobRequest.from_dict({**JOB, "stepps": 1}))
assert kind(wrong, Problem).errors[0].pointer == "/stepps", wrong

submitted = kind(create_job.sync(client=client, body=JobRequest.from_dict(JOB)), SubmittedJob)
assert submitted.spec.steps == 1 and submitted.tags.additional_properties == {"client": "python"}, submitted
job, seen = watch(client, submitted.id)
assert job.state.value == "succeeded", job
assert "job" in seen and "checkpoint" in seen, seen

asked = GenerateRequest(model=f"{job.run_id}@last", prompt="what is the sum of the digits ?", max_new_tokens=4)
answer = kind(generate.sync(client=client, body=asked), GenerateAnswer)
assert answer.model.startswith("ckpt_") and len(answer.choices[0].tokens) <= 4, answer
print(f"the generated Python client: {job.id} {job.state.value}, {answer.model} says {answer.choices[0].text!r}")

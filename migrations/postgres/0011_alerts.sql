-- Where alerts about a job are sent. It is in no answer, because an address may hold a secret.
ALTER TABLE jobs ADD COLUMN alert_webhook TEXT COLLATE "C";

-- What the rules of jobs found, once for a job, rule and occasion, and how far each is on its way to the webhook.
CREATE TABLE alerts (
    id TEXT COLLATE "C" PRIMARY KEY,
    job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    run_id TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    occasion TEXT COLLATE "C" NOT NULL,
    found JSON NOT NULL,
    delivery TEXT COLLATE "C" NOT NULL CHECK (delivery IN ('none', 'pending', 'sent', 'failed')),
    tries BIGINT NOT NULL,
    problem TEXT COLLATE "C",
    -- Exactly while it is pending. A server that sends it moves the time on, so that no other one does.
    next_try_at BIGINT,
    sent_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (job_id, rule, occasion),
    CHECK ((delivery = 'pending') = (next_try_at IS NOT NULL))
);
CREATE INDEX alerts_due ON alerts (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX alerts_run ON alerts (run_id, id);

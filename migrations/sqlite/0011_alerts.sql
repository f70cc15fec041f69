-- Where alerts about a job are sent. It is in no answer, because an address may hold a secret.
ALTER TABLE jobs ADD COLUMN alert_webhook TEXT;

-- What the rules of jobs found, once for a job, rule and occasion, and how far each is on its way to the webhook.
CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    run_id TEXT NOT NULL,
    rule TEXT NOT NULL,
    occasion TEXT NOT NULL,
    found TEXT NOT NULL,
    delivery TEXT NOT NULL CHECK (delivery IN ('none', 'pending', 'sent', 'failed')),
    tries INTEGER NOT NULL,
    problem TEXT,
    -- Exactly while it is pending. A server that sends it moves the time on, so that no other one does.
    next_try_at INTEGER,
    sent_at INTEGER,
    created_at INTEGER NOT NULL,
    UNIQUE (job_id, rule, occasion),
    CHECK ((delivery = 'pending') = (next_try_at IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_due ON alerts (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX alerts_run ON alerts (run_id, id);

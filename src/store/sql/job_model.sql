-- The checkpoint that job $1 waited for takes its place as the model to start from: $2 its id, $3 the settings with it.
UPDATE jobs SET model = $2, spec = $3 WHERE id = $1

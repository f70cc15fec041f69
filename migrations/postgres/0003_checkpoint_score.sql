-- What the best checkpoint of a run is chosen by: more is better. Until now it was the held-out accuracy.
ALTER TABLE checkpoints ADD COLUMN score DOUBLE PRECISION;
UPDATE checkpoints SET score = accuracy;

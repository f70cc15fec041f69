ON CONFLICT (key_id, step) DO UPDATE SET value = excluded.value, nonfinite = excluded.nonfinite

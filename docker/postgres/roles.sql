-- Roles with as few rights as they need. Run by the owner of the database after every `vgpo migrate`; doing it again is fine:
--   VGPO_APP_PASSWORD=… VGPO_READER_PASSWORD=… psql --file docker/postgres/roles.sql DATABASE
-- The owner, who runs this and `vgpo migrate`, changes the schema. vgpo_app reads and writes rows: servers and workers, with
-- VGPO_MIGRATE=check. vgpo_reader reads what Grafana shows.
\set ON_ERROR_STOP on
\getenv app_password VGPO_APP_PASSWORD
\getenv reader_password VGPO_READER_PASSWORD

SELECT 'CREATE ROLE vgpo_app LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vgpo_app') \gexec
SELECT 'CREATE ROLE vgpo_reader LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vgpo_reader') \gexec
ALTER ROLE vgpo_app PASSWORD :'app_password';
ALTER ROLE vgpo_reader PASSWORD :'reader_password';

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO vgpo_app, vgpo_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO vgpo_app;
GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO vgpo_app;
REVOKE INSERT, UPDATE, DELETE ON schema_migrations, schema_compatibility FROM vgpo_app;

-- Neither keys nor samples nor requests.
GRANT SELECT ON jobs, runs, metric_keys, metric_steps, points, checkpoints, workers, counters TO vgpo_reader;

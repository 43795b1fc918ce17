-- +goose Up

-- Background work. Times are Unix microseconds, 0 for never.
CREATE TABLE job (
  id           {{serial}},
  kind         TEXT NOT NULL,
  unique_key   TEXT,            -- NULL: any number of such jobs
  state        TEXT NOT NULL,   -- queued, running, done, cancelled, dead
  payload      TEXT NOT NULL,   -- JSON
  run_at       BIGINT NOT NULL, -- not before
  rerun_at     BIGINT NOT NULL, -- enqueued again while running: a successor follows, not before
  enqueues     BIGINT NOT NULL, -- how many enqueues this row stands for
  attempt      BIGINT NOT NULL, -- how often it was claimed; only goes up, and so fences those who have lost their lease
  failures     BIGINT NOT NULL, -- attempts that failed since it was enqueued or retried by hand
  max_attempts BIGINT NOT NULL, -- dead after so many failures
  node         TEXT NOT NULL,   -- who runs it, '' for nobody
  lease_until  BIGINT NOT NULL, -- until when, unless renewed
  cancel       BIGINT NOT NULL, -- 1: asked to stop
  error        TEXT NOT NULL,   -- of the last failure
  created_at   BIGINT NOT NULL,
  started_at   BIGINT NOT NULL, -- of the last attempt
  finished_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX job_live ON job (kind, unique_key) WHERE state IN ('queued', 'running');
CREATE INDEX job_due ON job (kind, run_at, id) WHERE state = 'queued';
CREATE INDEX job_leased ON job (lease_until) WHERE state = 'running';
CREATE INDEX job_finished ON job (state, finished_at) WHERE state IN ('done', 'cancelled', 'dead');
CREATE INDEX job_scheduled ON job (kind, started_at) WHERE unique_key = 'schedule';

-- +goose Down
DROP TABLE job;

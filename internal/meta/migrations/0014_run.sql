-- +goose Up

-- Objects of the blob store that belong to others than the registry. Collection leaves what stands here.
CREATE TABLE held_objects (
  id         {{serial}},
  holder     {{text}} NOT NULL,      -- whose: run
  location   {{text}} NOT NULL UNIQUE,
  digest     TEXT NOT NULL,
  size       BIGINT NOT NULL,        -- bytes, as stored
  created_at BIGINT NOT NULL
);
CREATE INDEX held_objects_holder ON held_objects (holder, id);

-- Runs of pipelines. A run's number is unique in the instance and never used again.
CREATE TABLE runs (
  id           {{serial}},
  account      {{text}} NOT NULL,
  project      {{text}} NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  pipeline     {{text}} NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
  number       TEXT NOT NULL,          -- Build.BuildNumber
  reason       TEXT NOT NULL,          -- manual, individualCI, …
  ref          {{text}} NOT NULL,
  commit_id    TEXT NOT NULL,
  message      TEXT NOT NULL,          -- first line of the commit's
  author       TEXT NOT NULL,
  requested_by TEXT NOT NULL,          -- ARN
  requested_for TEXT NOT NULL,         -- as people read it
  trusted      BIGINT NOT NULL,        -- 0: from outside; it gets no secrets
  state        TEXT NOT NULL,          -- pending, inProgress, completed
  result       TEXT NOT NULL,          -- '' until completed
  cancel       BIGINT NOT NULL,        -- when it was asked to end; 0
  cancel_by    TEXT NOT NULL,          -- ARN, or why
  waits        TEXT NOT NULL,          -- what keeps the run as a whole: '', limit, lock, batch
  attempt      BIGINT NOT NULL,        -- from 1; a re-run makes another
  source       {{text}} NOT NULL,      -- dedupes what is told at least once; '' for none
  cause_run    BIGINT NOT NULL,        -- the run that triggered it; 0
  spec         TEXT NOT NULL,          -- JSON: what was asked for
  problems     TEXT NOT NULL,          -- JSON: what the compiler or the start complained of
  tests_passed BIGINT NOT NULL,
  tests_failed BIGINT NOT NULL,
  tests_skipped BIGINT NOT NULL,
  log_bytes    BIGINT NOT NULL,
  seq          BIGINT NOT NULL,        -- of its last event
  keep         BIGINT NOT NULL,        -- 1: for ever
  created_at   BIGINT NOT NULL,
  started_at   BIGINT NOT NULL,        -- 0: not yet
  finished_at  BIGINT NOT NULL         -- 0: not yet
);
CREATE INDEX runs_pipeline ON runs (pipeline, id);
CREATE INDEX runs_project ON runs (project, id);
CREATE INDEX runs_account ON runs (account, id);
CREATE INDEX runs_live ON runs (pipeline, id) WHERE state <> 'completed';
CREATE UNIQUE INDEX runs_source ON runs (source) WHERE source <> '';

-- What runs carry out: gzip of JSON.
CREATE TABLE run_plans (
  run      BIGINT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
  plan     BYTEA NOT NULL,
  expanded BYTEA NOT NULL              -- gzip of YAML: the normal form
);

-- How far runs are, as package flow has it, which decides what is next. The tables below tell the same to who reads.
CREATE TABLE run_states (
  run      BIGINT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
  state    TEXT NOT NULL,              -- JSON of flow.State
  counters TEXT NOT NULL               -- JSON: what counter() gave
);

-- Sealed values of runs: secret variables given at the start, secret outputs.
CREATE TABLE run_secrets (
  id    {{text}} PRIMARY KEY,
  run   BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  value BYTEA NOT NULL
);
CREATE INDEX run_secrets_run ON run_secrets (run);

CREATE TABLE run_tags (
  run BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  tag {{text}} NOT NULL,
  PRIMARY KEY (run, tag)
) {{without_rowid}};

-- Attempts of stages. Only the last attempt of a stage counts.
CREATE TABLE run_stages (
  run          BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  name         {{text}} NOT NULL,
  attempt      BIGINT NOT NULL,
  ord          BIGINT NOT NULL,
  display_name TEXT NOT NULL,
  state        TEXT NOT NULL,          -- pending, inProgress, completed
  result       TEXT NOT NULL,
  cancel       BIGINT NOT NULL,
  waits        TEXT NOT NULL,          -- '', approval, lock, manual
  message      TEXT NOT NULL,          -- why it has its result
  started_at   BIGINT NOT NULL,
  finished_at  BIGINT NOT NULL,
  PRIMARY KEY (run, name, attempt)
) {{without_rowid}};

-- Jobs as the pipeline has them; what agents run of one are its legs, in run_jobs: one, or those of its matrix.
CREATE TABLE run_phases (
  run          BIGINT NOT NULL,
  stage        {{text}} NOT NULL,
  attempt      BIGINT NOT NULL,        -- of the stage
  name         {{text}} NOT NULL,
  ord          BIGINT NOT NULL,
  display_name TEXT NOT NULL,
  state        TEXT NOT NULL,
  result       TEXT NOT NULL,
  waits        TEXT NOT NULL,          -- '', approval, lock
  message      TEXT NOT NULL,
  environment  TEXT NOT NULL,          -- name, once it is known
  started_at   BIGINT NOT NULL,
  finished_at  BIGINT NOT NULL,
  PRIMARY KEY (run, stage, attempt, name),
  FOREIGN KEY (run, stage, attempt) REFERENCES run_stages (run, name, attempt) ON DELETE CASCADE
) {{without_rowid}};

CREATE TABLE run_jobs (
  id            {{text}} PRIMARY KEY,  -- opaque
  run           BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  stage         {{text}} NOT NULL,
  stage_attempt BIGINT NOT NULL,
  phase         {{text}} NOT NULL,
  leg           {{text}} NOT NULL,     -- name in the matrix; '' for none
  ord           BIGINT NOT NULL,
  display_name  TEXT NOT NULL,
  variables     TEXT NOT NULL,         -- JSON: those of the leg, and what the server evaluated
  state         TEXT NOT NULL,         -- pending, queued, inProgress, completed
  result        TEXT NOT NULL,
  message       TEXT NOT NULL,         -- why it has its result
  account       {{text}} NOT NULL,
  pool          {{text}} NOT NULL,     -- name
  demands       TEXT NOT NULL,         -- JSON list
  server        BIGINT NOT NULL,       -- 1: agentless
  attempt       BIGINT NOT NULL,       -- of the last claim; 0: there was none
  lost          BIGINT NOT NULL,       -- claims whose agents were lost
  timeout       BIGINT NOT NULL,       -- microseconds; 0: none
  cancel_timeout BIGINT NOT NULL,      -- microseconds
  cancel        BIGINT NOT NULL,       -- when it was asked to end; 0
  deadline      BIGINT NOT NULL,       -- when the server ends it; 0: never
  queued_at     BIGINT NOT NULL,
  started_at    BIGINT NOT NULL,
  finished_at   BIGINT NOT NULL,
  log_bytes     BIGINT NOT NULL
);
CREATE UNIQUE INDEX run_jobs_leg ON run_jobs (run, stage, stage_attempt, phase, leg);
CREATE INDEX run_jobs_live ON run_jobs (run, ord) WHERE state <> 'completed';
CREATE INDEX run_jobs_deadline ON run_jobs (deadline) WHERE deadline > 0;

-- Jobs that wait for an agent, in the order in which they are given out.
CREATE TABLE run_queue (
  ord     {{serial}},
  job     {{text}} NOT NULL UNIQUE REFERENCES run_jobs (id) ON DELETE CASCADE,
  run     BIGINT NOT NULL,
  account {{text}} NOT NULL,
  pool    {{text}} NOT NULL,           -- name in lower case: there need not be one yet
  first   BIGINT NOT NULL,             -- 0: before those with 1
  demands TEXT NOT NULL,               -- JSON list
  at      BIGINT NOT NULL
);
CREATE INDEX run_queue_pool ON run_queue (account, pool, first, ord);
CREATE INDEX run_queue_run ON run_queue (run);

-- Who had a job, and how that ended.
CREATE TABLE run_claims (
  job        {{text}} NOT NULL REFERENCES run_jobs (id) ON DELETE CASCADE,
  attempt    BIGINT NOT NULL,
  agent      {{text}} NOT NULL,        -- id; '' for the server
  agent_name TEXT NOT NULL,
  state      TEXT NOT NULL,            -- offered, held, done, released, unanswered, lost
  result     TEXT NOT NULL,
  cause      TEXT NOT NULL,            -- of the end, for people
  offered_at BIGINT NOT NULL,
  held_at    BIGINT NOT NULL,
  lease      BIGINT NOT NULL,          -- until; 0: over
  ended_at   BIGINT NOT NULL,
  PRIMARY KEY (job, attempt)
) {{without_rowid}};
CREATE INDEX run_claims_lease ON run_claims (lease) WHERE lease > 0;
CREATE INDEX run_claims_agent ON run_claims (agent) WHERE lease > 0;

-- What is known of the steps of a claim.
CREATE TABLE run_records (
  job      {{text}} NOT NULL,
  attempt  BIGINT NOT NULL,
  step     {{text}} NOT NULL,
  sequence BIGINT NOT NULL,
  ord      BIGINT NOT NULL,
  record   TEXT NOT NULL,              -- JSON, without outputs
  PRIMARY KEY (job, attempt, step),
  FOREIGN KEY (job, attempt) REFERENCES run_claims (job, attempt) ON DELETE CASCADE
) {{without_rowid}};

CREATE TABLE run_outputs (
  job     {{text}} NOT NULL,
  attempt BIGINT NOT NULL,
  step    {{text}} NOT NULL,           -- name
  name    {{text}} NOT NULL,
  value   TEXT NOT NULL,
  secret  {{text}} NOT NULL,           -- id in run_secrets; '' for what is none
  PRIMARY KEY (job, attempt, step, name),
  FOREIGN KEY (job, attempt) REFERENCES run_claims (job, attempt) ON DELETE CASCADE
) {{without_rowid}};

-- Logs: what came last is in chunks, what came before in objects.
CREATE TABLE run_logs (
  id      {{serial}},
  job     {{text}} NOT NULL,
  attempt BIGINT NOT NULL,
  name    {{text}} NOT NULL,
  size    BIGINT NOT NULL,             -- bytes that count
  marker  BIGINT NOT NULL,             -- how many of them, at the end, say that it is full; 0: it is not
  packed  BIGINT NOT NULL,             -- bytes that are in objects
  closed  BIGINT NOT NULL,             -- 1: no more comes
  UNIQUE (job, attempt, name),
  FOREIGN KEY (job, attempt) REFERENCES run_claims (job, attempt) ON DELETE CASCADE
);

CREATE TABLE run_log_chunks (
  log      BIGINT NOT NULL REFERENCES run_logs (id) ON DELETE CASCADE,
  at       BIGINT NOT NULL,            -- offset, bytes
  size     BIGINT NOT NULL,
  data     BYTEA NOT NULL,
  PRIMARY KEY (log, at)
);

CREATE TABLE run_log_objects (
  log    BIGINT NOT NULL REFERENCES run_logs (id) ON DELETE CASCADE,
  at     BIGINT NOT NULL,              -- offset, bytes
  size   BIGINT NOT NULL,              -- bytes, unpacked
  object BIGINT NOT NULL REFERENCES held_objects (id),
  start  BIGINT NOT NULL,              -- where its gzip member begins in the object
  packed BIGINT NOT NULL,              -- bytes of the member
  PRIMARY KEY (log, at)
) {{without_rowid}};
CREATE INDEX run_log_objects_object ON run_log_objects (object);

CREATE TABLE run_artifacts (
  id         {{serial}},
  run        BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  name       {{text}} NOT NULL,
  folded     {{text}} NOT NULL,        -- the name in lower case
  kind       TEXT NOT NULL,            -- pipeline, container
  properties TEXT NOT NULL,            -- JSON
  files      BIGINT NOT NULL,
  size       BIGINT NOT NULL,          -- bytes
  job        {{text}} NOT NULL,        -- that published it
  created_at BIGINT NOT NULL,
  UNIQUE (run, folded)
);

CREATE TABLE run_files (
  artifact BIGINT NOT NULL REFERENCES run_artifacts (id) ON DELETE CASCADE,
  name     {{text}} NOT NULL,
  size     BIGINT NOT NULL,
  sha256   TEXT NOT NULL,
  object   BIGINT REFERENCES held_objects (id), -- NULL: the bytes are in data
  data     BYTEA,
  PRIMARY KEY (artifact, name)
);
CREATE INDEX run_files_object ON run_files (object);

-- Files of artifacts that are not finished.
CREATE TABLE run_staged (
  job      {{text}} NOT NULL,
  attempt  BIGINT NOT NULL,
  artifact {{text}} NOT NULL,          -- name
  name     {{text}} NOT NULL,
  size     BIGINT NOT NULL,
  sha256   TEXT NOT NULL,
  object   BIGINT REFERENCES held_objects (id),
  data     BYTEA,
  PRIMARY KEY (job, attempt, artifact, name),
  FOREIGN KEY (job, attempt) REFERENCES run_claims (job, attempt) ON DELETE CASCADE
);
CREATE INDEX run_staged_object ON run_staged (object);

CREATE TABLE run_attachments (
  id      {{serial}},
  run     BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  job     {{text}} NOT NULL,
  attempt BIGINT NOT NULL,
  step    {{text}} NOT NULL,
  type    {{text}} NOT NULL,
  name    {{text}} NOT NULL,
  size    BIGINT NOT NULL,
  sha256  TEXT NOT NULL,
  object  BIGINT REFERENCES held_objects (id),
  data    BYTEA,
  at      BIGINT NOT NULL,
  FOREIGN KEY (job, attempt) REFERENCES run_claims (job, attempt) ON DELETE CASCADE
);
CREATE UNIQUE INDEX run_attachments_name ON run_attachments (job, attempt, step, type, name);
CREATE INDEX run_attachments_run ON run_attachments (run, type);
CREATE INDEX run_attachments_object ON run_attachments (object);

-- Summaries of test results.
CREATE TABLE run_tests (
  attachment BIGINT PRIMARY KEY REFERENCES run_attachments (id) ON DELETE CASCADE,
  run        BIGINT NOT NULL,
  name       TEXT NOT NULL,
  passed     BIGINT NOT NULL,
  failed     BIGINT NOT NULL,
  skipped    BIGINT NOT NULL,
  duration   BIGINT NOT NULL,          -- microseconds
  failures   TEXT NOT NULL             -- JSON: the first failures, with their messages
);
CREATE INDEX run_tests_run ON run_tests (run);

CREATE TABLE run_events (
  run  BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  seq  BIGINT NOT NULL,
  at   BIGINT NOT NULL,
  data TEXT NOT NULL,                  -- JSON
  PRIMARY KEY (run, seq)
) {{without_rowid}};

-- What waits for people.
CREATE TABLE run_approvals (
  id           {{text}} PRIMARY KEY,   -- UUID
  run          BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  stage        {{text}} NOT NULL,
  attempt      BIGINT NOT NULL,        -- of the stage
  phase        {{text}} NOT NULL,      -- '' for all of the stage
  job          {{text}} NOT NULL,      -- of a step that waits; '' for none
  step         {{text}} NOT NULL,
  environment  {{text}} NOT NULL,      -- id; '' for none
  name         TEXT NOT NULL,          -- of what it protects, for people
  instructions TEXT NOT NULL,
  approvers    TEXT NOT NULL,          -- JSON list of ARNs; [] for whoever may
  needed       BIGINT NOT NULL,        -- how many
  own          BIGINT NOT NULL,        -- 1: also who asked for the run
  timeout_as   TEXT NOT NULL,          -- what no answer is: reject, resume
  state        TEXT NOT NULL,          -- pending, approved, rejected, expired, canceled
  expires_at   BIGINT NOT NULL,        -- 0: never
  created_at   BIGINT NOT NULL,
  ended_at     BIGINT NOT NULL
);
CREATE INDEX run_approvals_run ON run_approvals (run);
CREATE INDEX run_approvals_expiry ON run_approvals (expires_at) WHERE state = 'pending' AND expires_at > 0;

CREATE TABLE run_answers (
  approval {{text}} NOT NULL REFERENCES run_approvals (id) ON DELETE CASCADE,
  who      {{text}} NOT NULL,          -- ARN
  approved BIGINT NOT NULL,
  comment  TEXT NOT NULL,
  at       BIGINT NOT NULL,
  PRIMARY KEY (approval, who)
) {{without_rowid}};

-- What one run at a time may use: environments with an exclusive lock.
CREATE TABLE run_locks (
  ord      {{serial}},
  resource {{text}} NOT NULL,          -- id of the environment
  run      BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  stage    {{text}} NOT NULL,
  attempt  BIGINT NOT NULL,
  held     BIGINT NOT NULL,            -- 0: it waits
  latest   BIGINT NOT NULL,            -- 1: whoever comes later takes its place
  at       BIGINT NOT NULL,
  UNIQUE (resource, run, stage, attempt)
);
CREATE UNIQUE INDEX run_locks_held ON run_locks (resource) WHERE held = 1;
CREATE INDEX run_locks_run ON run_locks (run);

-- Who wants a run to be kept, and until when.
CREATE TABLE run_leases (
  id         {{text}} PRIMARY KEY,     -- UUID
  run        BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  owner      TEXT NOT NULL,
  reason     TEXT NOT NULL,
  until      BIGINT NOT NULL,          -- 0: for ever
  created_at BIGINT NOT NULL
);
CREATE INDEX run_leases_run ON run_leases (run);

-- Pushes that wait for a run of the same branch to end: batch.
CREATE TABLE run_batches (
  pipeline {{text}} NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
  ref      {{text}} NOT NULL,
  spec     TEXT NOT NULL,              -- JSON: the run to be
  at       BIGINT NOT NULL,
  PRIMARY KEY (pipeline, ref)
) {{without_rowid}};

-- Events from elsewhere that were dealt with.
CREATE TABLE run_seen (
  source {{text}} PRIMARY KEY,
  at     BIGINT NOT NULL
) {{without_rowid}};
CREATE INDEX run_seen_at ON run_seen (at);

-- When pipelines start by the clock.
CREATE TABLE run_schedules (
  pipeline     {{text}} NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
  ref          {{text}} NOT NULL,
  ord          BIGINT NOT NULL,        -- in the file
  cron         TEXT NOT NULL,
  display_name TEXT NOT NULL,
  always       BIGINT NOT NULL,
  batch        BIGINT NOT NULL,
  next_at      BIGINT NOT NULL,
  last_commit  TEXT NOT NULL,          -- of its last run
  PRIMARY KEY (pipeline, ref, ord)
) {{without_rowid}};
CREATE INDEX run_schedules_next ON run_schedules (next_at);

-- Pipelines whose runs start those of others. ref is the branch whose file says so: the default one.
CREATE TABLE run_upstreams (
  pipeline {{text}} NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
  alias    {{text}} NOT NULL,
  project  TEXT NOT NULL,              -- name; '' for its own
  source   {{text}} NOT NULL,          -- name of the pipeline, in lower case
  spec     TEXT NOT NULL,              -- JSON: filters
  PRIMARY KEY (pipeline, alias)
) {{without_rowid}};
CREATE INDEX run_upstreams_source ON run_upstreams (source);

-- +goose Down
DROP TABLE run_upstreams;
DROP TABLE run_schedules;
DROP TABLE run_seen;
DROP TABLE run_batches;
DROP TABLE run_leases;
DROP TABLE run_locks;
DROP TABLE run_answers;
DROP TABLE run_approvals;
DROP TABLE run_events;
DROP TABLE run_tests;
DROP TABLE run_attachments;
DROP TABLE run_staged;
DROP TABLE run_files;
DROP TABLE run_artifacts;
DROP TABLE run_log_objects;
DROP TABLE run_log_chunks;
DROP TABLE run_logs;
DROP TABLE run_outputs;
DROP TABLE run_records;
DROP TABLE run_claims;
DROP TABLE run_queue;
DROP TABLE run_jobs;
DROP TABLE run_phases;
DROP TABLE run_stages;
DROP TABLE run_tags;
DROP TABLE run_secrets;
DROP TABLE run_states;
DROP TABLE run_plans;
DROP TABLE runs;
DROP TABLE held_objects;

-- +goose Up

-- Ids are UUIDs. folded is the name in lower case: names are unique whatever their case.
CREATE TABLE projects (
  id          {{text}} PRIMARY KEY,
  account     {{text}} NOT NULL,
  name        {{text}} NOT NULL,
  folded      {{text}} NOT NULL,
  description TEXT NOT NULL,
  role        {{text}} NOT NULL, -- unique id of the role that its jobs act as, '' while there is none
  settings    TEXT NOT NULL,     -- JSON of project.Settings
  created_at  BIGINT NOT NULL,
  updated_at  BIGINT NOT NULL,
  UNIQUE (account, folded)
);

CREATE TABLE pipelines (
  id              {{text}} PRIMARY KEY,
  project_id      {{text}} NOT NULL REFERENCES projects (id),
  name            {{text}} NOT NULL,
  folded          {{text}} NOT NULL,
  folder          {{text}} NOT NULL, -- '' or a/b
  repository_kind {{text}} NOT NULL, -- git: ours; external
  repository      {{text}} NOT NULL, -- id of ours; URL of an external one
  connection      {{text}} NOT NULL, -- id of the service connection to an external one, or ''
  path            TEXT NOT NULL,     -- of the YAML file
  default_branch  {{text}} NOT NULL, -- refs/heads/main
  state           {{text}} NOT NULL, -- enabled, paused, disabled
  settings        TEXT NOT NULL,     -- JSON of project.PipelineSettings
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL,
  UNIQUE (project_id, folded)
);
CREATE INDEX pipelines_repository ON pipelines (repository);

-- What counter() in a pipeline's variables, and the numbers of its runs, went up to.
CREATE TABLE pipeline_counters (
  pipeline_id {{text}} NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
  name        {{text}} NOT NULL,
  value       BIGINT NOT NULL, -- the last that was given out
  PRIMARY KEY (pipeline_id, name)
) {{without_rowid}};

CREATE TABLE variable_groups (
  id          {{text}} PRIMARY KEY,
  project_id  {{text}} NOT NULL REFERENCES projects (id),
  name        {{text}} NOT NULL,
  folded      {{text}} NOT NULL,
  description TEXT NOT NULL,
  secret      TEXT NOT NULL, -- name or ARN of a secret whose members are its variables; '' for none
  created_at  BIGINT NOT NULL,
  updated_at  BIGINT NOT NULL,
  UNIQUE (project_id, folded)
);

-- The variables of pipelines and of groups. Of a secret one the value is in project_secrets.
CREATE TABLE project_variables (
  project_id {{text}} NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  owner      {{text}} NOT NULL, -- id of the pipeline or the group
  folded     {{text}} NOT NULL,
  name       {{text}} NOT NULL,
  value      TEXT NOT NULL,   -- '' of a secret one
  secret     BIGINT NOT NULL,
  settable   BIGINT NOT NULL, -- whoever starts a run may give it another value
  PRIMARY KEY (owner, folded)
) {{without_rowid}};
CREATE INDEX project_variables_project ON project_variables (project_id);

CREATE TABLE service_connections (
  id          {{text}} PRIMARY KEY,
  project_id  {{text}} NOT NULL REFERENCES projects (id),
  name        {{text}} NOT NULL,
  folded      {{text}} NOT NULL,
  type        {{text}} NOT NULL,
  description TEXT NOT NULL,
  url         TEXT NOT NULL,
  scheme      {{text}} NOT NULL,
  parameters  TEXT NOT NULL, -- JSON object: those that are no secrets
  data        TEXT NOT NULL, -- JSON object
  created_at  BIGINT NOT NULL,
  updated_at  BIGINT NOT NULL,
  UNIQUE (project_id, folded)
);

-- Sealed: secret variables of pipelines and groups by their folded names, secret parameters of service connections by theirs.
CREATE TABLE project_secrets (
  owner      {{text}} NOT NULL,
  name       {{text}} NOT NULL,
  project_id {{text}} NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  value      BYTEA NOT NULL, -- sealed, bound to owner and name
  PRIMARY KEY (owner, name)
);
CREATE INDEX project_secrets_project ON project_secrets (project_id);

CREATE TABLE environments (
  id          {{text}} PRIMARY KEY,
  project_id  {{text}} NOT NULL REFERENCES projects (id),
  name        {{text}} NOT NULL,
  folded      {{text}} NOT NULL,
  description TEXT NOT NULL,
  checks      TEXT NOT NULL, -- JSON of project.Checks
  created_at  BIGINT NOT NULL,
  updated_at  BIGINT NOT NULL,
  UNIQUE (project_id, folded)
);

-- Which pipelines may use what.
CREATE TABLE pipeline_authorizations (
  project_id {{text}} NOT NULL REFERENCES projects (id) ON DELETE CASCADE, -- of the pipelines
  kind       {{text}} NOT NULL, -- connection, variables, environment, repository
  resource   {{text}} NOT NULL, -- id
  pipeline   {{text}} NOT NULL, -- id; '' for all of the project
  granted_by TEXT NOT NULL,     -- ARN
  granted_at BIGINT NOT NULL,
  PRIMARY KEY (project_id, kind, resource, pipeline)
) {{without_rowid}};
CREATE INDEX pipeline_authorizations_pipeline ON pipeline_authorizations (pipeline) WHERE pipeline <> '';
CREATE INDEX pipeline_authorizations_resource ON pipeline_authorizations (kind, resource);

-- +goose Down
DROP TABLE pipeline_authorizations;
DROP TABLE environments;
DROP TABLE project_secrets;
DROP TABLE service_connections;
DROP TABLE project_variables;
DROP TABLE variable_groups;
DROP TABLE pipeline_counters;
DROP TABLE pipelines;
DROP TABLE projects;

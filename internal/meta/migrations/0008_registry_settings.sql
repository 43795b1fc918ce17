-- +goose Up

-- What an account told its registry as a whole, one document a kind: the registry policy as it was put, the
-- configurations of replication, scanning and signing as JSON, and account settings by their names. A kind without a row
-- is as it is by default.
CREATE TABLE registry_documents (
  account    TEXT NOT NULL,
  kind       TEXT NOT NULL,
  document   TEXT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (account, kind)
);

-- How repositories are made that nobody creates by hand: the longest prefix wins, ROOT is the last resort.
CREATE TABLE creation_templates (
  account    TEXT NOT NULL,
  prefix     {{text}} NOT NULL,
  document   TEXT NOT NULL, -- JSON of registry.TemplateContent
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (account, prefix)
);

-- Which upstream's images appear under which prefix.
CREATE TABLE pull_through_rules (
  account    TEXT NOT NULL,
  prefix     {{text}} NOT NULL,
  document   TEXT NOT NULL, -- JSON of registry.Upstream
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (account, prefix)
);

-- Whose pulls leave no trace in the time of the last pull. The ARN of a user or a role.
CREATE TABLE pull_time_exclusions (
  account    TEXT NOT NULL,
  principal  {{text}} NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (account, principal)
);

-- +goose Down
DROP TABLE pull_time_exclusions;
DROP TABLE pull_through_rules;
DROP TABLE creation_templates;
DROP TABLE registry_documents;

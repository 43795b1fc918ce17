-- +goose Up

-- Repositories. Their objects and refs are in <git.path>/<id>.git.
CREATE TABLE git_repositories (
  id             {{text}} PRIMARY KEY, -- UUID
  account        {{text}} NOT NULL,
  project        TEXT NOT NULL,
  project_key    {{text}} NOT NULL, -- in lower case
  name           TEXT NOT NULL,
  name_key       {{text}} NOT NULL, -- in lower case
  description    TEXT NOT NULL,
  default_branch TEXT NOT NULL,     -- without refs/heads/
  max_push       BIGINT NOT NULL,   -- bytes of one push, 0: as configured
  max_object     BIGINT NOT NULL,   -- bytes of one file, 0: as configured
  max_size       BIGINT NOT NULL,   -- bytes of all, 0: as configured
  created_at     BIGINT NOT NULL,
  pushed_at      BIGINT NOT NULL,   -- 0: never
  size           BIGINT NOT NULL,   -- bytes on disk, when it was measured last
  packed_at      BIGINT NOT NULL,   -- when it was repacked whole, 0: never
  UNIQUE (account, project_key, name_key)
);

-- The refs as OnPush was told of them. What is on disk may be ahead of it for a moment.
CREATE TABLE git_refs (
  repository_id {{text}} NOT NULL REFERENCES git_repositories (id) ON DELETE CASCADE,
  name          {{text}} NOT NULL,
  target        TEXT NOT NULL, -- 40 hexadecimal digits
  PRIMARY KEY (repository_id, name)
){{without_rowid}};

-- Updates of refs that are about to be made, so that after a crash it is known whose they were.
CREATE TABLE git_intents (
  id            {{serial}},
  repository_id {{text}} NOT NULL REFERENCES git_repositories (id) ON DELETE CASCADE,
  push          TEXT NOT NULL, -- JSON
  created_at    BIGINT NOT NULL
);
CREATE INDEX git_intents_repository ON git_intents (repository_id, id);

-- What may not be done to some branches and tags.
CREATE TABLE git_rules (
  repository_id {{text}} NOT NULL REFERENCES git_repositories (id) ON DELETE CASCADE,
  pattern       {{text}} NOT NULL,
  no_force      BIGINT NOT NULL, -- 1: no update that is not a fast-forward
  no_delete     BIGINT NOT NULL, -- 1: no deletion
  pushers       TEXT NOT NULL,   -- JSON list of ARNs, who alone may push; [] for everybody
  max_file      BIGINT NOT NULL, -- bytes of one file, 0: no limit of its own
  PRIMARY KEY (repository_id, pattern)
){{without_rowid}};

-- Repositories that are filled from outside.
CREATE TABLE git_mirrors (
  repository_id {{text}} PRIMARY KEY REFERENCES git_repositories (id) ON DELETE CASCADE,
  url           TEXT NOT NULL,
  credential    TEXT NOT NULL,   -- where user and password are found, never themselves; '' for none
  pulls         BIGINT NOT NULL, -- 1: refs/pull/* too
  period        BIGINT NOT NULL, -- microseconds between fetches, 0: by demand only
  due_at        BIGINT NOT NULL, -- when it is fetched next, 0: by demand only
  tried_at      BIGINT NOT NULL, -- 0: never
  fetched_at    BIGINT NOT NULL, -- 0: never
  failures      BIGINT NOT NULL, -- since it was fetched last
  error         TEXT NOT NULL    -- of the last try, '' for none
);
CREATE INDEX git_mirrors_due ON git_mirrors (due_at) WHERE due_at > 0;

-- +goose Down
DROP TABLE git_mirrors;
DROP TABLE git_rules;
DROP TABLE git_intents;
DROP TABLE git_refs;
DROP TABLE git_repositories;

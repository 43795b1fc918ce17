-- +goose Up

-- What a repository lets whom do, as its author wrote it.
CREATE TABLE repository_policies (
  repository_id BIGINT PRIMARY KEY REFERENCES repositories (id) ON DELETE CASCADE,
  document      TEXT NOT NULL
);

-- Which images of a repository are to go or to be archived, as its author wrote it.
CREATE TABLE lifecycle_policies (
  repository_id BIGINT PRIMARY KEY REFERENCES repositories (id) ON DELETE CASCADE,
  document      TEXT NOT NULL,
  evaluated_at  BIGINT NOT NULL -- 0: never
);

-- A manifest is archived while archived_at > activated_at.
ALTER TABLE manifests ADD COLUMN archived_at BIGINT NOT NULL DEFAULT 0;  -- 0: never
ALTER TABLE manifests ADD COLUMN activated_at BIGINT NOT NULL DEFAULT 0; -- when it was restored last; 0: never

-- +goose Down
ALTER TABLE manifests DROP COLUMN activated_at;
ALTER TABLE manifests DROP COLUMN archived_at;
DROP TABLE lifecycle_policies;
DROP TABLE repository_policies;

-- +goose Up

-- What has a name in an account: users, groups, roles, policies, instance profiles, OIDC providers.
CREATE TABLE identities (
  id          {{text}} PRIMARY KEY, -- AIDA…, AGPA…, AROA…, ANPA…, AIPA…, OIDC…
  account     {{text}} NOT NULL,
  kind        {{text}} NOT NULL,    -- as in ARNs
  name        {{text}} NOT NULL,    -- of a provider its URL without the scheme
  folded      {{text}} NOT NULL,    -- the name in lower case
  path        {{text}} NOT NULL,
  created_at  BIGINT NOT NULL,
  updated_at  BIGINT NOT NULL,      -- policies: when the last version was made or chosen
  description TEXT NOT NULL,        -- roles, policies
  document    TEXT NOT NULL,        -- roles: the trust policy; providers: client ids and thumbprints
  version     BIGINT NOT NULL,      -- policies: the default one
  versions    BIGINT NOT NULL,      -- policies: the number of the newest that there ever was
  max_session BIGINT NOT NULL,      -- roles: seconds
  boundary    {{text}} NOT NULL,    -- users, roles: ARN of a policy, or ''
  used_at     BIGINT NOT NULL,      -- roles: last; 0: never
  used_in     TEXT NOT NULL,        -- roles: region of the last use
  UNIQUE (account, kind, folded)
);
CREATE INDEX identities_boundary ON identities (boundary) WHERE boundary <> '';

CREATE TABLE identity_tags (
  identity {{text}} NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
  folded   {{text}} NOT NULL, -- the key in lower case
  key      {{text}} NOT NULL,
  value    TEXT NOT NULL,
  PRIMARY KEY (identity, folded)
) {{without_rowid}};

CREATE TABLE inline_policies (
  identity {{text}} NOT NULL REFERENCES identities (id),
  name     {{text}} NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (identity, name)
) {{without_rowid}};

CREATE TABLE policy_versions (
  policy     {{text}} NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
  version    BIGINT NOT NULL,
  document   TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (policy, version)
) {{without_rowid}};

CREATE TABLE attached_policies (
  identity {{text}} NOT NULL REFERENCES identities (id),
  policy   {{text}} NOT NULL, -- ARN: some are built in
  name     {{text}} NOT NULL, -- of the policy
  PRIMARY KEY (identity, policy)
) {{without_rowid}};
CREATE INDEX attached_policies_policy ON attached_policies (policy);

-- Users in groups, and roles in instance profiles.
CREATE TABLE memberships (
  container  {{text}} NOT NULL REFERENCES identities (id),
  member     {{text}} NOT NULL REFERENCES identities (id),
  PRIMARY KEY (container, member)
) {{without_rowid}};
CREATE INDEX memberships_member ON memberships (member);

CREATE TABLE account_aliases (
  alias   {{text}} PRIMARY KEY,
  account {{text}} NOT NULL UNIQUE
);

-- Whose a key is; null for root's.
ALTER TABLE access_keys ADD COLUMN owner {{text}} REFERENCES identities (id);
ALTER TABLE access_keys ADD COLUMN used_at BIGINT NOT NULL DEFAULT 0; -- last; 0: never
ALTER TABLE access_keys ADD COLUMN used_for TEXT NOT NULL DEFAULT ''; -- service
ALTER TABLE access_keys ADD COLUMN used_in TEXT NOT NULL DEFAULT '';  -- region
CREATE INDEX access_keys_owner ON access_keys (owner, id);

-- Goes up by one in every transaction that changes who may do what. It has one row.
CREATE TABLE generation (
  one BIGINT PRIMARY KEY, -- 1
  n   BIGINT NOT NULL
);
INSERT INTO generation (one, n) VALUES (1, 1);

-- +goose Down
DROP TABLE generation;
DROP INDEX access_keys_owner;
ALTER TABLE access_keys DROP COLUMN used_in;
ALTER TABLE access_keys DROP COLUMN used_for;
ALTER TABLE access_keys DROP COLUMN used_at;
ALTER TABLE access_keys DROP COLUMN owner;
DROP TABLE account_aliases;
DROP TABLE memberships;
DROP TABLE attached_policies;
DROP TABLE policy_versions;
DROP TABLE inline_policies;
DROP TABLE identity_tags;
DROP TABLE identities;

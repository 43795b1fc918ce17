package directory

import (
	"context"
	"errors"

	"github.com/sekisho/sekisho/internal/iam"
)

var errNotYet = errors.New("not yet done")

// users

func (s *Service) CreateUser(ctx context.Context, c *iam.Caller, u NewUser) (*User, error) {
	return nil, errNotYet
}
func (s *Service) User(ctx context.Context, c *iam.Caller, name string) (*User, error) {
	return nil, errNotYet
}
func (s *Service) UpdateUser(ctx context.Context, c *iam.Caller, name, newName, newPath string) error {
	return errNotYet
}
func (s *Service) DeleteUser(ctx context.Context, c *iam.Caller, name string) error { return errNotYet }
func (s *Service) Users(ctx context.Context, c *iam.Caller, pathPrefix string, p Page) ([]User, bool, error) {
	return nil, false, errNotYet
}

// groups

func (s *Service) CreateGroup(ctx context.Context, c *iam.Caller, name, path string) (*Group, error) {
	return nil, errNotYet
}
func (s *Service) Group(ctx context.Context, c *iam.Caller, name string, p Page) (*Group, []User, bool, error) {
	return nil, nil, false, errNotYet
}
func (s *Service) UpdateGroup(ctx context.Context, c *iam.Caller, name, newName, newPath string) error {
	return errNotYet
}
func (s *Service) DeleteGroup(ctx context.Context, c *iam.Caller, name string) error {
	return errNotYet
}
func (s *Service) Groups(ctx context.Context, c *iam.Caller, pathPrefix string, p Page) ([]Group, bool, error) {
	return nil, false, errNotYet
}
func (s *Service) AddUserToGroup(ctx context.Context, c *iam.Caller, group, user string) error {
	return errNotYet
}
func (s *Service) RemoveUserFromGroup(ctx context.Context, c *iam.Caller, group, user string) error {
	return errNotYet
}
func (s *Service) GroupsForUser(ctx context.Context, c *iam.Caller, user string, p Page) ([]Group, bool, error) {
	return nil, false, errNotYet
}

// roles

func (s *Service) CreateRole(ctx context.Context, c *iam.Caller, r NewRole) (*Role, error) {
	return nil, errNotYet
}
func (s *Service) Role(ctx context.Context, c *iam.Caller, name string) (*Role, error) {
	return nil, errNotYet
}
func (s *Service) UpdateRole(ctx context.Context, c *iam.Caller, name string, u RoleUpdate) (*Role, error) {
	return nil, errNotYet
}
func (s *Service) UpdateTrust(ctx context.Context, c *iam.Caller, role, document string) error {
	return errNotYet
}
func (s *Service) DeleteRole(ctx context.Context, c *iam.Caller, name string) error { return errNotYet }
func (s *Service) Roles(ctx context.Context, c *iam.Caller, pathPrefix string, p Page) ([]Role, bool, error) {
	return nil, false, errNotYet
}

// managed policies

func (s *Service) CreatePolicy(ctx context.Context, c *iam.Caller, p NewPolicy) (*ManagedPolicy, error) {
	return nil, errNotYet
}
func (s *Service) Policy(ctx context.Context, c *iam.Caller, arn string) (*ManagedPolicy, error) {
	return nil, errNotYet
}
func (s *Service) DeletePolicy(ctx context.Context, c *iam.Caller, arn string) error {
	return errNotYet
}
func (s *Service) Policies(ctx context.Context, c *iam.Caller, f PolicyFilter, p Page) ([]ManagedPolicy, bool, error) {
	return nil, false, errNotYet
}
func (s *Service) CreatePolicyVersion(ctx context.Context, c *iam.Caller, arn, document string, setDefault bool) (*PolicyVersion, error) {
	return nil, errNotYet
}
func (s *Service) PolicyVersion(ctx context.Context, c *iam.Caller, arn, version string) (*PolicyVersion, error) {
	return nil, errNotYet
}
func (s *Service) PolicyVersions(ctx context.Context, c *iam.Caller, arn string, p Page) ([]PolicyVersion, bool, error) {
	return nil, false, errNotYet
}
func (s *Service) SetDefaultPolicyVersion(ctx context.Context, c *iam.Caller, arn, version string) error {
	return errNotYet
}
func (s *Service) DeletePolicyVersion(ctx context.Context, c *iam.Caller, arn, version string) error {
	return errNotYet
}
func (s *Service) PolicyEntities(ctx context.Context, c *iam.Caller, arn string, f AttachmentFilter, p Page) ([]Attachment, bool, error) {
	return nil, false, errNotYet
}

// inline policies of users, groups and roles

func (s *Service) PutInlinePolicy(ctx context.Context, c *iam.Caller, of Ref, name, document string) error {
	return errNotYet
}
func (s *Service) InlinePolicy(ctx context.Context, c *iam.Caller, of Ref, name string) (string, error) {
	return "", errNotYet
}
func (s *Service) DeleteInlinePolicy(ctx context.Context, c *iam.Caller, of Ref, name string) error {
	return errNotYet
}
func (s *Service) InlinePolicies(ctx context.Context, c *iam.Caller, of Ref, p Page) ([]string, bool, error) {
	return nil, false, errNotYet
}

// managed policies of users, groups and roles

func (s *Service) AttachPolicy(ctx context.Context, c *iam.Caller, to Ref, arn string) error {
	return errNotYet
}
func (s *Service) DetachPolicy(ctx context.Context, c *iam.Caller, from Ref, arn string) error {
	return errNotYet
}
func (s *Service) AttachedPolicies(ctx context.Context, c *iam.Caller, of Ref, pathPrefix string, p Page) ([]AttachedPolicy, bool, error) {
	return nil, false, errNotYet
}

// boundaries of users and roles

func (s *Service) PutBoundary(ctx context.Context, c *iam.Caller, of Ref, arn string) error {
	return errNotYet
}
func (s *Service) DeleteBoundary(ctx context.Context, c *iam.Caller, of Ref) error { return errNotYet }

// tags of everything but groups

func (s *Service) Tags(ctx context.Context, c *iam.Caller, of Ref, p Page) ([]Tag, bool, error) {
	return nil, false, errNotYet
}
func (s *Service) SetTags(ctx context.Context, c *iam.Caller, of Ref, tags []Tag) error {
	return errNotYet
}
func (s *Service) RemoveTags(ctx context.Context, c *iam.Caller, of Ref, keys []string) error {
	return errNotYet
}

// OIDC providers

func (s *Service) CreateProvider(ctx context.Context, c *iam.Caller, p NewProvider) (*Provider, error) {
	return nil, errNotYet
}
func (s *Service) Provider(ctx context.Context, c *iam.Caller, arn string) (*Provider, error) {
	return nil, errNotYet
}
func (s *Service) Providers(ctx context.Context, c *iam.Caller) ([]Provider, error) {
	return nil, errNotYet
}
func (s *Service) DeleteProvider(ctx context.Context, c *iam.Caller, arn string) error {
	return errNotYet
}
func (s *Service) AddClientID(ctx context.Context, c *iam.Caller, arn, id string) error {
	return errNotYet
}
func (s *Service) RemoveClientID(ctx context.Context, c *iam.Caller, arn, id string) error {
	return errNotYet
}
func (s *Service) SetThumbprints(ctx context.Context, c *iam.Caller, arn string, thumbprints []string) error {
	return errNotYet
}

// instance profiles

func (s *Service) CreateProfile(ctx context.Context, c *iam.Caller, p NewProfile) (*Profile, error) {
	return nil, errNotYet
}
func (s *Service) Profile(ctx context.Context, c *iam.Caller, name string) (*Profile, error) {
	return nil, errNotYet
}
func (s *Service) DeleteProfile(ctx context.Context, c *iam.Caller, name string) error {
	return errNotYet
}
func (s *Service) Profiles(ctx context.Context, c *iam.Caller, pathPrefix string, p Page) ([]Profile, bool, error) {
	return nil, false, errNotYet
}
func (s *Service) ProfilesForRole(ctx context.Context, c *iam.Caller, role string, p Page) ([]Profile, bool, error) {
	return nil, false, errNotYet
}
func (s *Service) AddRoleToProfile(ctx context.Context, c *iam.Caller, profile, role string) error {
	return errNotYet
}
func (s *Service) RemoveRoleFromProfile(ctx context.Context, c *iam.Caller, profile, role string) error {
	return errNotYet
}

// access keys; user "" is the caller, who may be root

func (s *Service) CreateAccessKey(ctx context.Context, c *iam.Caller, user string) (*iam.AccessKey, error) {
	return nil, errNotYet
}
func (s *Service) AccessKeys(ctx context.Context, c *iam.Caller, user string, p Page) ([]AccessKey, bool, error) {
	return nil, false, errNotYet
}
func (s *Service) SetAccessKeyStatus(ctx context.Context, c *iam.Caller, user, id string, status iam.KeyStatus) error {
	return errNotYet
}
func (s *Service) DeleteAccessKey(ctx context.Context, c *iam.Caller, user, id string) error {
	return errNotYet
}
func (s *Service) AccessKeyLastUsed(ctx context.Context, c *iam.Caller, id string) (*KeyUse, error) {
	return nil, errNotYet
}

// the account

func (s *Service) Alias(ctx context.Context, c *iam.Caller) (string, error)        { return "", errNotYet }
func (s *Service) SetAlias(ctx context.Context, c *iam.Caller, alias string) error { return errNotYet }
func (s *Service) DeleteAlias(ctx context.Context, c *iam.Caller, alias string) error {
	return errNotYet
}
func (s *Service) Summary(ctx context.Context, c *iam.Caller) (map[string]int, error) {
	return nil, errNotYet
}

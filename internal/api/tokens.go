package api

import (
	"context"

	"github.com/sekisho/sekisho/internal/iam"
)

// NewToken is a personal access token to be made.
type NewToken struct {
	Name    string
	Seconds int64 // of its life; 0: the default
	Scopes  []iam.Scope
}

// MadeToken is a personal access token with its text, which is told this once.
type MadeToken struct {
	iam.PersonalToken
	Token string
}

// Tokens adds the operations on personal access tokens.
func (s *Server) Tokens(t *iam.PersonalTokens) {
	Handle(s, "CreateToken", "iam:CreatePersonalAccessToken", func(ctx context.Context, c *iam.Caller, in *NewToken) (*MadeToken, error) {
		made, err := t.Create(ctx, c, iam.NewPersonalToken{Name: in.Name, Life: seconds(in.Seconds), Scopes: in.Scopes})
		if err != nil {
			return nil, err
		}
		return &MadeToken{*made, made.Token.Reveal()}, nil
	})
	Handle(s, "ListTokens", "iam:ListPersonalAccessTokens", func(ctx context.Context, c *iam.Caller, in *struct{ User string }) (List[iam.PersonalToken], error) {
		all, err := t.List(ctx, c, in.User)
		return List[iam.PersonalToken]{Items: all}, err
	})
	Handle(s, "RevokeToken", "iam:RevokePersonalAccessToken", func(ctx context.Context, c *iam.Caller, in *struct{ ID string }) (Nothing, error) {
		return Nothing{}, t.Revoke(ctx, c, in.ID)
	})
}

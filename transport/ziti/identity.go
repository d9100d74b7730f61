package ziti

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/openziti/edge-api/rest_management_api_client/identity"
	"github.com/openziti/edge-api/rest_model"
)

// ErrExists says that an identity of that name exists and cannot be enrolled any more.
var ErrExists = errors.New("an enrolled overlay identity of that name exists")

// IdentitySpec is an identity to create.
type IdentitySpec struct {
	Name    string   // unique in the network
	Roles   []string // RoleHub or RoleSpoke
	Replace bool     // end an identity of that name first; its connections end with it
}

// Identity is what the controller knows of an identity.
type Identity struct {
	ID       string // the common name of its certificates
	Name     string
	Enrolled bool // its one-time token was used
}

// CreateIdentity creates an identity and returns its id and its one-time enrollment token. Repeated without Replace, it
// returns the same id and token until the token has been used, and then ErrExists.
func (m *Manager) CreateIdentity(ctx context.Context, spec IdentitySpec) (id, token string, err error) {
	if spec.Name == "" {
		return "", "", errors.New("create overlay identity: Name is missing")
	}
	fail := func(err error) (string, string, error) {
		return "", "", fmt.Errorf("create overlay identity %s: %w", spec.Name, err)
	}
	l, err := call(ctx, m, func(ctx context.Context, c management) (*identity.ListIdentitiesOK, error) {
		return c.API.Identity.ListIdentities(&identity.ListIdentitiesParams{Context: ctx, Filter: byName(spec.Name)}, nil)
	})
	if err != nil {
		return fail(err)
	}
	for _, d := range l.Payload.Data {
		if !isOurs(d.Tags) {
			return fail(&ForeignError{"identity", spec.Name})
		}
		if !spec.Replace {
			if t := pendingToken(d); t != "" {
				return *d.ID, t, nil
			}
			return fail(ErrExists)
		}
		if err := m.DeleteIdentity(ctx, *d.ID); err != nil {
			return fail(err)
		}
	}
	roles := rest_model.Attributes(spec.Roles)
	made, err := call(ctx, m, func(ctx context.Context, c management) (*identity.CreateIdentityCreated, error) {
		return c.API.Identity.CreateIdentity(&identity.CreateIdentityParams{Context: ctx, Identity: &rest_model.IdentityCreate{
			Name: &spec.Name, IsAdmin: ptr(false), Type: ptr(rest_model.IdentityTypeDefault), RoleAttributes: &roles, Tags: tags(),
			Enrollment: &rest_model.IdentityCreateEnrollment{Ott: true},
		}}, nil)
	})
	if err != nil {
		return fail(err)
	}
	d, err := call(ctx, m, func(ctx context.Context, c management) (*identity.DetailIdentityOK, error) {
		return c.API.Identity.DetailIdentity(&identity.DetailIdentityParams{Context: ctx, ID: made.Payload.Data.ID}, nil)
	})
	if err != nil {
		return fail(err)
	}
	if token = pendingToken(d.Payload.Data); token == "" {
		return fail(errors.New("the controller gave no enrollment token"))
	}
	return made.Payload.Data.ID, token, nil
}

func pendingToken(d *rest_model.IdentityDetail) string {
	if d.Enrollment == nil || d.Enrollment.Ott == nil {
		return ""
	}
	return d.Enrollment.Ott.JWT
}

// DeleteIdentity ends an identity and its connections. One that does not exist is no error.
func (m *Manager) DeleteIdentity(ctx context.Context, id string) error {
	d, err := call(ctx, m, func(ctx context.Context, c management) (*identity.DetailIdentityOK, error) {
		return c.API.Identity.DetailIdentity(&identity.DetailIdentityParams{Context: ctx, ID: id}, nil)
	})
	if err == nil && !isOurs(d.Payload.Data.Tags) {
		err = &ForeignError{"identity", *d.Payload.Data.Name}
	}
	if err == nil {
		_, err = call(ctx, m, func(ctx context.Context, c management) (*identity.DeleteIdentityOK, error) {
			return c.API.Identity.DeleteIdentity(&identity.DeleteIdentityParams{Context: ctx, ID: id}, nil)
		})
	}
	if err != nil && !hasStatus(err, http.StatusNotFound) {
		return fmt.Errorf("delete overlay identity %s: %w", id, err)
	}
	return nil
}

// Identities returns all identities that are Nave's.
func (m *Manager) Identities(ctx context.Context) ([]Identity, error) {
	filter := fmt.Sprintf("tags.%s = true", tagKey)
	all, err := pages(func(limit, offset int64) ([]*rest_model.IdentityDetail, *rest_model.Meta, error) {
		l, err := call(ctx, m, func(ctx context.Context, c management) (*identity.ListIdentitiesOK, error) {
			return c.API.Identity.ListIdentities(&identity.ListIdentitiesParams{Context: ctx, Filter: &filter, Limit: &limit, Offset: &offset}, nil)
		})
		if err != nil {
			return nil, nil, err
		}
		return l.Payload.Data, l.Payload.Meta, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list overlay identities: %w", err)
	}
	ids := make([]Identity, 0, len(all))
	for _, d := range all {
		ids = append(ids, Identity{ID: *d.ID, Name: *d.Name, Enrolled: pendingToken(d) == ""})
	}
	return ids, nil
}

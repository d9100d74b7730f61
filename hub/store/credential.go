package store

import (
	"context"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store/recordv1"
)

// PutCredential implements [hub.Credentials].
func (s *Store) PutCredential(ctx context.Context, hash [32]byte, c hub.Credential) error {
	const op = "put credential"
	var ops changes
	r := &recordv1.Credential{Org: string(c.Org), Subject: c.Subject, Role: string(c.Role), ExpiresAt: timeRecord(c.ExpiresAt)}
	if err := ops.put(s.keys.credential(hash), r); err != nil {
		return failure(op, err)
	}
	_, err := s.txn(ctx, op, nil, ops.ops, nil)
	return err
}

// Credential implements [hub.Credentials]. It returns expired ones too: the caller has the clock.
func (s *Store) Credential(ctx context.Context, hash [32]byte) (hub.Credential, error) {
	const op = "read credential"
	key := s.keys.credential(hash)
	resp, err := s.get(ctx, op, key)
	if err != nil {
		return hub.Credential{}, err
	}
	if len(resp.Kvs) == 0 {
		return hub.Credential{}, refuse(op, api.CodeNotFound, "there is no such credential")
	}
	r, err := decode(key, resp.Kvs[0].Value, new(recordv1.Credential))
	if err != nil {
		return hub.Credential{}, failure(op, err)
	}
	return hub.Credential{Org: api.OrgID(r.GetOrg()), Subject: r.GetSubject(), Role: hub.Role(r.GetRole()), ExpiresAt: timeFrom(r.GetExpiresAt())}, nil
}

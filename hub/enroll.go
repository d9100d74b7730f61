package hub

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/nave-dev/nave/api"
)

// EnrollRequest is what a spoke presents, once, to become its cluster's.
type EnrollRequest struct {
	Secret    string        // of the join token
	Cluster   api.ClusterID // of the join token
	PublicKey []byte        // PKIX, DER: ECDSA P-256
	Proof     []byte        // ASN.1 ECDSA signature by that key over [EnrollDigest] of the secret
}

// EnrollDigest is what a spoke signs to prove that it has the key and knows the secret: SHA-256("nave-enroll:" + secret).
func EnrollDigest(secret string) [32]byte { return sha256.Sum256([]byte("nave-enroll:" + secret)) }

// IdentityName is the name of a spoke's identity in the overlay.
func IdentityName(id api.ClusterID) string { return "nave-spoke-" + string(id) }

// Enroll verifies the proof, binds the join token to the key, makes the overlay identity of the cluster anew and returns
// what the spoke needs to connect. The same key may repeat while the token lives, for a spoke that crashed on the way; what
// an earlier call returned does not work any more then.
//
// Whatever is wrong with the credential, the answer is one and the same CodeDenied; the log has the reason.
func (f *Fleet) Enroll(ctx context.Context, req EnrollRequest) (Enrolled, error) {
	key, err := checkEnroll(req)
	if err != nil {
		return Enrolled{}, err
	}
	digest := EnrollDigest(req.Secret)
	if !ecdsa.VerifyASN1(key, digest[:], req.Proof) {
		return Enrolled{}, f.denied(req, "the proof does not verify")
	}
	fingerprint := sha256.Sum256(req.PublicKey)
	token, err := f.cfg.Store.BindToken(ctx, sha256.Sum256([]byte(req.Secret)), fingerprint[:], f.cfg.Now())
	switch {
	case api.CodeOf(err) == api.CodeDenied && api.FieldOf(err) == "key":
		f.cfg.Alarm(AlarmJoinToken)
		f.cfg.Log.Error("a join token was presented with another key than the one that it is bound to: it may have been stolen", "cluster", req.Cluster)
		return Enrolled{}, f.denied(req, err.Error())
	case api.CodeOf(err) == api.CodeDenied:
		return Enrolled{}, f.denied(req, err.Error())
	case err != nil:
		return Enrolled{}, err
	case token.Cluster != req.Cluster:
		return Enrolled{}, f.denied(req, "the token is of cluster "+string(token.Cluster))
	}
	return f.identify(ctx, req)
}

// identify makes the identity anew and records it. The record is compared with what was read before the identity was made:
// of two that do this at once, the one that records last has also made the identity last, so the recorded one exists.
func (f *Fleet) identify(ctx context.Context, req EnrollRequest) (Enrolled, error) {
	for range casAttempts {
		c, err := f.ByID(ctx, req.Cluster)
		if api.CodeOf(err) == api.CodeNotFound {
			return Enrolled{}, f.denied(req, "the cluster was deleted")
		}
		if err != nil {
			return Enrolled{}, err
		}
		id, token, err := f.cfg.Overlay.CreateIdentity(ctx, IdentityName(c.ID))
		if err != nil {
			return Enrolled{}, err
		}
		c.Identity, c.Status = id, api.ClusterStatus{}
		switch _, err := f.cfg.Store.UpdateCluster(ctx, c); {
		case err == nil:
			f.cfg.Log.Info("spoke enrolled", "cluster", c.ID, "name", c.Name, "identity", id)
			return Enrolled{OverlayToken: token, Org: c.Org, ClusterName: c.Name, HubIdentities: f.cfg.HubIdentities(), Service: f.cfg.Service,
				Authority: f.cfg.Authority, Controllers: f.cfg.Controllers}, nil
		case api.CodeOf(err) == api.CodeConflict || api.CodeOf(err) == api.CodeNotFound:
			// Somebody changed the cluster meanwhile, or removed it: an identity without a record must not stay.
			if err := f.cfg.Overlay.DeleteIdentity(ctx, id); err != nil {
				return Enrolled{}, err
			}
		default:
			return Enrolled{}, err // unknown whether it is recorded; the spoke repeats and gets a new one
		}
	}
	return Enrolled{}, api.Errorf(api.CodeUnavailable, "the cluster is being changed by others: repeat")
}

// checkEnroll checks the form of a request, which tells nothing about what the hub has.
func checkEnroll(req EnrollRequest) (*ecdsa.PublicKey, error) {
	if len(req.Secret) != secretLength {
		return nil, api.Invalid("join_token", "its secret has %d characters, want %d: it was cut off on the way", len(req.Secret), secretLength)
	}
	if _, err := api.ParseULID(string(req.Cluster)); err != nil {
		return nil, api.Invalid("join_token", "its cluster %.40q is not an id of 26 characters: it was cut off on the way", req.Cluster)
	}
	if len(req.PublicKey) > 1024 {
		return nil, api.Invalid("public_key", "%d bytes: want a PKIX key of ECDSA P-256", len(req.PublicKey))
	}
	parsed, err := x509.ParsePKIXPublicKey(req.PublicKey)
	key, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, api.Invalid("public_key", "is not a key: want PKIX, DER, ECDSA P-256")
	}
	if len(req.Proof) == 0 || len(req.Proof) > 256 {
		return nil, api.Invalid("proof", "%d bytes: want an ASN.1 signature of ECDSA P-256", len(req.Proof))
	}
	return key, nil
}

// denied logs the reason and returns the one answer that tells none.
func (f *Fleet) denied(req EnrollRequest, reason string) error {
	f.cfg.Log.Warn("enrollment denied", "cluster", req.Cluster, "reason", reason)
	return &api.Error{Code: api.CodeDenied, Field: "join_token", Err: fmt.Errorf("it is unknown, expired, was used with another key, or its cluster was removed: register the cluster or let it rejoin for a new one")}
}

// secretLength is the length of a secret as text: 32 bytes in base64url without padding.
const secretLength = 43

// newSecret makes 256 random bits as text, and the hash under which they are kept.
func newSecret(random io.Reader) (string, [32]byte, error) {
	var b [32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", [32]byte{}, api.Errorf(api.CodeInternal, "read randomness: %w", err)
	}
	s := base64.RawURLEncoding.EncodeToString(b[:])
	return s, sha256.Sum256([]byte(s)), nil
}

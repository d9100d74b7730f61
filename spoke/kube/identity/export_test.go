package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// Bounds that tests wait for.
const (
	FreshFor  = freshFor
	Believed  = believed
	AskPause  = askPause
	AskLimit  = askLimit
	Logged    = logged
	MaxAnswer = maxAnswer
)

// CheckKeySet reads a key set and says what of it breaks a bound that the code behind relies on. ok is false for a refused one.
func CheckKeySet(configuration, published []byte) (broken error, ok bool) {
	set, err := parseKeySet(configuration, published)
	if err != nil {
		return nil, false
	}
	if set.issuer == "" || len(set.issuer) > maxIssuer || len(set.keys) == 0 {
		return fmt.Errorf("issuer of %d bytes, %d ids", len(set.issuer), len(set.keys)), true
	}
	n := 0
	for id, keys := range set.keys {
		for _, k := range keys {
			n++
			ec, isEC := k.public.(*ecdsa.PublicKey)
			rs, isRSA := k.public.(*rsa.PublicKey)
			switch {
			case id == "":
				return fmt.Errorf("a key has no id"), true
			case isEC && (k.algorithm != jose.ES256 || ec.Curve != elliptic.P256()):
				return fmt.Errorf("key %q is for %s on %s", id, k.algorithm, ec.Curve.Params().Name), true
			case isRSA && (k.algorithm != jose.RS256 || rs.N.BitLen() < minModulus || rs.N.BitLen() > maxModulus):
				return fmt.Errorf("key %q is for %s with %d bits", id, k.algorithm, rs.N.BitLen()), true
			case !isEC && !isRSA:
				return fmt.Errorf("key %q is a %T", id, k.public), true
			}
		}
	}
	if n > maxKeys {
		return fmt.Errorf("%d keys", n), true
	}
	return nil, true
}

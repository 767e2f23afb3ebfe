package codec

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Setting is the environment variable that holds the keys.
const Setting = "WALLET_PAYLOAD_KEYS"

const keyBytes = 32 // AES-256

// maxKeyID is less than the length of a key in base64: ids are shown to people, and a key
// entered as an id by mistake must not be.
const maxKeyID = 32

var keyID = regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9._-]{1,%d}$`, maxKeyID))

// Plain, as the first key, encrypts nothing: use it to give every program a key for reading
// before any program writes with it.
const Plain = "plain"

// Keys encrypt payloads with the first key and decrypt with any of them. It is a
// converter.PayloadCodec.
type Keys struct {
	plain bool // the first key is Plain
	keys  []key
}

type key struct {
	id   string
	aead cipher.AEAD
}

// FromEnv reads the keys from WALLET_PAYLOAD_KEYS.
func FromEnv() (*Keys, error) {
	keys, err := Parse(os.Getenv(Setting))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Setting, err)
	}
	return keys, nil
}

// Parse reads "id:base64,id:base64": names, and 32 bytes each; the first may be "plain". An
// empty text means no keys. Its errors contain no part of a key.
func Parse(text string) (*Keys, error) {
	k := &Keys{}
	if strings.TrimSpace(text) == "" {
		return k, nil
	}
	for i, item := range strings.Split(text, ",") {
		if i == 0 && strings.TrimSpace(item) == Plain {
			k.plain = true
			continue
		}
		id, encoded, found := strings.Cut(strings.TrimSpace(item), ":")
		if !found || !keyID.MatchString(id) {
			return nil, fmt.Errorf("key %d is not id:base64 with an id of 1 to %d letters, digits, dots, dashes or underscores", i+1, maxKeyID)
		}
		secret, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, fmt.Errorf(`key %d (%s) is not base64: make one with "openssl rand -base64 %d"`, i+1, id, keyBytes)
		}
		if len(secret) != keyBytes {
			return nil, fmt.Errorf(`key %d (%s) has %d bytes, AES-256 needs %d: make one with "openssl rand -base64 %d"`, i+1, id, len(secret), keyBytes, keyBytes)
		}
		if slices.Contains(k.IDs(), id) {
			return nil, fmt.Errorf("two keys have the id %s: give each key its own id, and never reuse it", id)
		}
		block, err := aes.NewCipher(secret)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		k.keys = append(k.keys, key{id, aead})
	}
	return k, nil
}

// encrypts reports whether the first entry is a key.
func (k *Keys) encrypts() bool { return len(k.keys) > 0 && !k.plain }

// IDs returns the names of the keys, in order.
func (k *Keys) IDs() []string {
	ids := make([]string, len(k.keys))
	for i, key := range k.keys {
		ids[i] = key.id
	}
	return ids
}

// String shows only the names, so no print statement can leak a key.
func (k *Keys) String() string { return "keys " + strings.Join(k.IDs(), ", ") }

// GoString is String, for %#v.
func (k *Keys) GoString() string { return k.String() }

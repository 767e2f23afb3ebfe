package webhooks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/rows"
)

// messageID is the webhook-id of an event: the same each time, and to each endpoint. An event's
// own id may have characters that a header may not, and dots, which separate what is signed.
func messageID(e feed.Event) string {
	sum := sha256.Sum256([]byte(e.ID))
	return "evt_" + hex.EncodeToString(sum[:16])
}

// sign signs with each valid secret, the newest first.
func sign(secrets []string, id string, at time.Time, body []byte) (string, error) {
	var signatures []string
	for _, secret := range secrets {
		webhook, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return "", errors.New("the secret of the endpoint is not base64") // the library's error may quote it
		}
		signature, err := webhook.Sign(id, at, body)
		if err != nil {
			return "", err
		}
		signatures = append(signatures, signature)
	}
	return strings.Join(signatures, " "), nil
}

// result is what became of one attempt.
type result string

const (
	delivered result = "delivered" // 2xx
	failed    result = "failed"    // any other answer, or none
	throttled result = "throttled" // 429, or 503 with Retry-After: not this event's fault
	gone      result = "gone"      // 410: the endpoint wants no more
)

// attempt is a result, why, and when the receiver wants to be asked again.
type attempt struct {
	result result
	reason string
	after  time.Duration
}

// send sends one event. Nothing that the receiver says gets into the reason but the status: a URL
// may lead to what people who see the reason may not see.
func (d *Deliverer) send(ctx context.Context, to destination, e feed.Event) attempt {
	body, err := json.Marshal(e)
	if err != nil {
		return attempt{result: failed, reason: err.Error()}
	}
	id, now := messageID(e), time.Now()
	signature, err := sign(to.secrets, id, now, body)
	if err != nil {
		return attempt{result: failed, reason: err.Error()}
	}
	// It is not cut off when this process is to end: nobody would know whether it arrived.
	request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, to.url, bytes.NewReader(body))
	if err != nil {
		return attempt{result: failed, reason: "the URL cannot be used"}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "wallet-webhooks")
	request.Header.Set(standardwebhooks.HeaderWebhookID, id)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	answer, err := d.client.Do(request)
	if err != nil {
		return attempt{result: failed, reason: withoutURL(err)}
	}
	_, _ = io.CopyN(io.Discard, answer.Body, maxBodyBytes)
	answer.Body.Close()
	return judge(answer)
}

func judge(answer *http.Response) attempt {
	a := attempt{result: failed, reason: strings.TrimSpace(fmt.Sprintf("answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode)))}
	after, asked := retryAfter(answer)
	switch {
	case answer.StatusCode >= 200 && answer.StatusCode < 300:
		a = attempt{result: delivered}
	case answer.StatusCode == http.StatusGone:
		a.result = gone
	case answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusServiceUnavailable && asked:
		a.result, a.after = throttled, after
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		a.reason += " (redirects are not followed: change the URL)"
	}
	return a
}

const (
	leastPause = 5 * time.Second // after a 429 that does not say how long
	mostPause  = 24 * time.Hour
)

// retryAfter reads the header: seconds, or a date. It is at most a day.
func retryAfter(answer *http.Response) (after time.Duration, asked bool) {
	text := answer.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		after, asked = time.Duration(seconds)*time.Second, true
	} else if date, err := http.ParseTime(text); err == nil {
		after, asked = time.Until(date), true
	}
	return min(max(after, leastPause), mostPause), asked
}

// withoutURL leaves the method and the URL out, which people know.
func withoutURL(err error) string {
	var of *url.Error
	if errors.As(err, &of) {
		if of.Timeout() {
			return "no answer in time"
		}
		err = of.Err
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) { // its text has names that the receiver chose
		return "its certificate is not valid for this address"
	}
	return rows.LastError(err)
}

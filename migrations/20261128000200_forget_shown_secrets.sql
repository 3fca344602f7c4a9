-- Answers that show a secret once were kept for calls with an Idempotency-Key, in clear. They are no longer; these are
-- the ones that were. Replicas of the old version may add some until they are replaced: within 24 hours the collector
-- deletes them.

delete from idempotency_keys
 where position(convert_to('"key":"sf_', 'UTF8') in body) > 0
    or position(convert_to('"secret":"whsec_', 'UTF8') in body) > 0;

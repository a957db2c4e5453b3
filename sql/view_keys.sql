-- The order of a view's keys: encoded values sort as PostgreSQL's own btree operators sort the values.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS docstore;
RESET client_min_messages;
SELECT setseed(0.42);

CREATE FUNCTION view_key(anyelement, descending boolean, nulls_first boolean) RETURNS bytea
AS '$libdir/docstore', 'docstore_view_key' LANGUAGE C;

-- Sorts the values of an array in all four ways, by the values and by their encodings, and compares every pair.
CREATE FUNCTION misplaced(sample anyarray) RETURNS TABLE (direction text, pairs bigint, wrong bigint)
LANGUAGE plpgsql AS $$
DECLARE
	d boolean;
	f boolean;
	collated text := CASE WHEN pg_typeof(sample) IN ('text[]'::regtype, 'varchar[]'::regtype, 'bpchar[]'::regtype) THEN 'COLLATE "C"' ELSE '' END;
BEGIN
	FOREACH d IN ARRAY ARRAY[false, true] LOOP
		FOREACH f IN ARRAY ARRAY[false, true] LOOP
			direction := CASE WHEN d THEN 'desc' ELSE 'asc' END || CASE WHEN f THEN ' nulls first' ELSE ' nulls last' END;
			EXECUTE format($q$
				WITH s AS (SELECT v, view_key(v, $2, $3) AS k, dense_rank() OVER (ORDER BY v %s %s %s) AS r FROM unnest($1) AS v)
				SELECT count(*), count(*) FILTER (WHERE (a.r < b.r) <> (a.k < b.k) OR (a.r = b.r) <> (a.k = b.k)) FROM s a, s b
			$q$, collated, CASE WHEN d THEN 'DESC' ELSE 'ASC' END, CASE WHEN f THEN 'NULLS FIRST' ELSE 'NULLS LAST' END)
			INTO pairs, wrong USING sample, d, f;
			RETURN NEXT;
		END LOOP;
	END LOOP;
END $$;

SELECT * FROM misplaced(ARRAY[true, false, NULL]);
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest(ARRAY[0, 1, -1, 32767, -32768, NULL]::int2[]) UNION ALL
	SELECT (random() * 65535 - 32768)::int2 FROM generate_series(1, 100)) AS s (x)));
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest(ARRAY[0, 1, -1, 255, 256, 65536, 2147483647, -2147483648, NULL]::int4[]) UNION ALL
	SELECT (random() * 1000000 - 500000)::int4 FROM generate_series(1, 100)) AS s (x)));
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest(ARRAY[0, 1, -1, 9223372036854775807, -9223372036854775808, 4294967296, NULL]::int8[]) UNION ALL
	SELECT ((random() - 0.5) * 1e18)::int8 FROM generate_series(1, 100)) AS s (x)));
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest('{0,-0,1,-1,NaN,Infinity,-Infinity,1e-300,-1e-300,1e300,4.9e-324,-4.9e-324,NULL}'::float8[]) UNION ALL
	SELECT (random() - 0.5) * 10 ^ (random() * 200 - 100) FROM generate_series(1, 100)) AS s (x)));
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest('{0,-0,1,-1,NaN,Infinity,-Infinity,1e-40,-1e-40,3e38,NULL}'::float4[]) UNION ALL
	SELECT ((random() - 0.5) * 10 ^ (random() * 20 - 10))::float4 FROM generate_series(1, 100)) AS s (x)));
-- Numbers of all sizes and scales; equal ones of different scale are one.
SELECT * FROM misplaced((SELECT array_agg(x) FROM (
	SELECT unnest('{0,0.000,-0,1,1.0,1.0000000000,10,100,1000,9999,10000,10001,99999999,100000000,-1,-1.50,-1.5,-10000,-10000.0001,0.1,0.0001,0.00001,0.00010001,NaN,Infinity,-Infinity,NULL}'::numeric[])
	UNION ALL SELECT unnest(ARRAY[10::numeric ^ 300, -(10::numeric ^ 300), 1 / 10::numeric ^ 300, ('1e131000')::numeric, ('-1e131000')::numeric, ('1e-16000')::numeric, ('1.' || repeat('0', 15000) || '1')::numeric])
	UNION ALL SELECT round(((random() - 0.5) * 10 ^ (random() * 16 - 8))::numeric, (random() * 12)::int) FROM generate_series(1, 150)
	UNION ALL SELECT (random() * 20000)::int::numeric / 10000 FROM generate_series(1, 50)) AS s (x)));
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest(ARRAY['', 'a', 'ab', 'abc', 'b', E'\x01', E'a\x01', 'Z', 'ä', 'a ', 'a  ', '𝄞', NULL]) UNION ALL
	SELECT substr(md5(random()::text), 1, (random() * 5)::int) FROM generate_series(1, 100)) AS s (x)));
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest(ARRAY['', 'a', 'ab', 'a ', NULL]::varchar[])) AS s (x)));
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest(ARRAY['', 'a', 'ab', 'a ', 'a   ', E'a\x01', NULL]::bpchar[])) AS s (x)));
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest(ARRAY['', '\x00', '\x0000', '\x00ff', '\x01', '\x6100', '\x61', '\x610000', '\x6101', '\xff', '\xff00', '\xffff', NULL]::bytea[]) UNION ALL
	SELECT decode(substr(replace(md5(random()::text), 'a', '0'), 1, 2 * (random() * 5)::int), 'hex') FROM generate_series(1, 100)) AS s (x)));
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest('{-infinity,infinity,2000-01-01,1999-12-31,4713-01-01 BC,5874897-12-31,NULL}'::date[]) UNION ALL
	SELECT date '2000-01-01' + (random() * 100000 - 50000)::int FROM generate_series(1, 50)) AS s (x)));
SELECT * FROM misplaced('{00:00,24:00,12:34:56.789,23:59:59.999999,NULL}'::time[]);
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest('{-infinity,infinity,2000-01-01,1999-12-31 23:59:59.999999,4713-01-01 BC,294276-12-31,NULL}'::timestamp[]) UNION ALL
	SELECT timestamp '2000-01-01' + (random() - 0.5) * interval '100 years' FROM generate_series(1, 50)) AS s (x)));
SELECT * FROM misplaced('{-infinity,infinity,2000-01-01 00:00+00,2000-01-01 01:00+01,1999-12-31 23:00-01,2000-01-01 00:00:00.000001+00,NULL}'::timestamptz[]);
-- A month is 30 days, a day 24 hours; the largest spans do not fit into 64 bits.
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest(ARRAY['0', '1 month', '30 days', '720 hours', '1 month -30 days', '29 days 24:00:00.000001', '-1 month', '1 year', '12 months', '360 days',
	'178000000 years', '-178000000 years', '178000000 years 2000000000 days', '1 microsecond', '-1 microsecond', NULL]::interval[]) UNION ALL
	SELECT make_interval(months => (random() * 4 - 2)::int, days => (random() * 120 - 60)::int, hours => (random() * 48 - 24)::int) FROM generate_series(1, 100)) AS s (x)));
SELECT * FROM misplaced((SELECT array_agg(x) FROM (SELECT unnest(ARRAY['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', NULL]::uuid[]) UNION ALL
	SELECT md5(random()::text)::uuid FROM generate_series(1, 50)) AS s (x)));
SELECT * FROM misplaced('{0,1,4294967295,NULL}'::oid[]);

-- Several columns, one after the other: the order of rows, in mixed directions.
WITH s AS (SELECT a, b, c, view_key(a, false, false) || view_key(b, true, true) || view_key(c, false, true) AS k
	FROM unnest(ARRAY['', 'a', 'ab', NULL]) AS a, unnest(ARRAY[1.0, -1, 1.5, NULL]) AS b, unnest(ARRAY['', '\x00', '\x0001', NULL]::bytea[]) AS c),
r AS (SELECT row_number() OVER (ORDER BY a COLLATE "C", b DESC, c NULLS FIRST) AS by_value, row_number() OVER (ORDER BY k) AS by_key FROM s)
SELECT count(*), count(*) FILTER (WHERE by_value <> by_key) AS wrong FROM r;

-- Wider and narrower types of a family are encoded alike.
SELECT view_key(7::int2, false, false) = view_key(7::int8, false, false) AS integers, view_key(0.5::float4, true, false) = view_key(0.5::float8, true, false) AS floats,
	view_key('a'::text, false, false) = view_key('a'::varchar, false, false) AS texts;
CREATE DOMAIN positive AS int CHECK (value > 0);
SELECT view_key(5::positive, false, false) = view_key(5, false, false) AS domains;
SELECT view_key('{}'::jsonb, false, false);
SELECT view_key('(1,2)'::point, false, false);

DROP DOMAIN positive;
DROP FUNCTION misplaced, view_key;

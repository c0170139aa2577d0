// A Parametric Map as OHIF reads it: node read_parametric_map.mjs NODE_MODULES MAP.dcm IMAGES.json OUT.f32
//
// IMAGES.json lists the CT's images with the metadata that viewers hold of each. OUT.f32 gets the map's numbers, and
// standard output the images' identifiers in the order in which Cornerstone stacks them: OHIF lays the first numbers
// over the first of these.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [modules, map, images, out] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(path.resolve(modules, "@cornerstonejs", name, "dist/esm/index.js")));
const { metaData, utilities } = await load("core");
const { adaptersPMAP } = await load("adapters");

const known = JSON.parse(fs.readFileSync(images, "utf8"));
metaData.addProvider((type, imageId) => known[imageId]?.[type], 10000);
const { sortedImageIds } = utilities.sortImageIdsAndGetSpacing(Object.keys(known));
const bytes = fs.readFileSync(map);
const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
const { pixelData } = await adaptersPMAP.Cornerstone3D.ParametricMap.generateToolState(sortedImageIds, buffer, metaData);
if (!(pixelData instanceof Float32Array)) throw new Error(`numbers are a ${pixelData.constructor.name}`);
fs.writeFileSync(out, Buffer.from(pixelData.buffer, pixelData.byteOffset, pixelData.byteLength));
console.log(JSON.stringify(sortedImageIds));

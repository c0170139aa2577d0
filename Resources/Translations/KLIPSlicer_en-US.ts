<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="en_US" sourcelanguage="en">
  <context>
    <name>KLIPSlicer</name>
    <message>
      <source>KLIP: out-of-distribution detection</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>
&lt;p&gt;Marks where a CT departs from the healthy anatomy that a diffusion prior knows, as a map in nats and as regions.&lt;/p&gt;
&lt;ol&gt;
&lt;li&gt;Choose a CT of the abdomen, with contrast. Read what the prior knows, and any warning below it.&lt;/li&gt;
&lt;li&gt;Press &lt;b&gt;Detect OOD&lt;/b&gt;. First results appear while later slices are still examined.
&lt;b&gt;Cancel&lt;/b&gt; keeps what is finished.&lt;/li&gt;
&lt;li&gt;Move &lt;b&gt;Block size&lt;/b&gt;: small blocks show small things, large ones faint and extended changes.
Nothing is computed again.&lt;/li&gt;
&lt;li&gt;Click a region to see it in all views. Uncheck what you do not want, then &lt;b&gt;Export…&lt;/b&gt;&lt;/li&gt;
&lt;/ol&gt;
&lt;p&gt;The scan is simulated from the loaded volume; nothing is sent anywhere. Missing Python packages are asked for
when you press Detect for the first time.&lt;/p&gt;
&lt;p&gt;&lt;b&gt;Research software. Not a medical device.&lt;/b&gt; It does not diagnose, and an unmarked place is not thereby
healthy.&lt;/p&gt;
</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>An independent implementation of KLIP: A. Kheirandish, J. Hong, S. Fridovich-Keil, CVPR 2026, arXiv 2605.31596.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The detection took longer than {n} s and was stopped.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The detection was cancelled.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Study</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>CT volume:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The CT to examine, in Hounsfield units. Best loaded from DICOM: exported segmentations then refer to the original images.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Region of interest:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Optional. Examine only what lies in this box: fewer slices are computed, and only places inside can be marked. Choose None to examine everything.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Slices:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Examine only these slices, counted from the feet, from 0. Fewer slices take less time; slices that are done already are never computed twice.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Prior:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The model of healthy anatomy that the CT is compared with. It only knows the kind of scans it was trained on; the box below says which. More can be added under “Advanced”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What the chosen prior was trained on and what it may be used for.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Why results on this volume deserve less trust. The report repeats it.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose a CT volume first.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Detect OOD</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How much of the work is done.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What is being done and how long it will take; afterwards, what was found.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Map and regions, live</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Look for:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What counts as a departure. unexpected: darker or brighter than expected, judged by what healthy people show. hypodense: soft tissue darker than expected, small and large; it ranks liver lesions best and sees nothing bright, fatty or gaseous. darker: the same for all tissues, small ones only. brighter: the same for what is brighter, in every patient also vessels. surprise: both, less exact. klip: the whole KL of our own chain, not the published recipe. nats: all of the measured information. one-shot: a simple comparison. Acts at once where the trace has it; the others need Detect again.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Block size:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Size of the square over which departures from the prior are added up. Small blocks show small things and are noisier; large blocks find faint, extended changes. A few times the smallest lesion you look for is a good start. Acts at once, nothing is computed again.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source> mm</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>σ window:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Coarseness of the departures that count. Recommended is the range at which real liver lesions were found best; fine looks at smaller, sharper detail, coarse at larger, softer changes. Acts at once.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The range of noise levels σ itself, in parts of the prior's window (1 is its whole width of Hounsfield units). For experts; moving it makes the window “custom”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>False discoveries:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Up to which part of the marked regions may be chance (false-discovery rate). 0.5 marks generously; 0.05 marks only what hardly can be chance. Acts at once.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>False regions:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How many regions a healthy study of this size may show on average. 1 is a start; less marks only what is rare in health, more marks generously. Acts at once.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source> regions</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Sign:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Which departures are marked: darker than the prior expected, brighter, or both. Acts at once.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Tissue:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Where regions are sought. soft: organs, muscle, bowel wall, blood and bone. all: fat, lung and gas, too, where healthy people differ most, so that more is asked of a region. Acts at once.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Organs:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Optional. A segmentation of this scan, from any program or drawn by hand: regions are named by its segments. Acts at once.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Look within:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Mark regions within these segments alone. Less volume holds fewer of the regions that healthy studies show, so the verdict changes with it. Acts at once.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Overlay opacity:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How strongly the colors cover the CT. 0 shows the CT alone.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Overlay threshold:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Places below this number of the legend are not colored. It starts where ordinary tissue of this very scan ends. It changes the picture only, never the regions.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Regions</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What was found, in a sentence.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Marked regions. Click a row to see it in all views; click a heading to sort; the checkbox hides a region and keeps it out of exports. Keys: arrows walk, Enter jumps, space hides, 0 to 4 say what it is.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Reading:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What you say of the chosen region. It is saved with the scene and exported with the report.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What you say of the chosen region. It is saved with the scene and exported with the report. In the table, the keys 0 to 4 do the same.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A note on the chosen region, in your words. It is saved and exported as it stands: write nothing that names the patient.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Note</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Save the checked regions: as a segmentation in the scene, as a file, as DICOM SEG for a PACS, as surfaces, or as a report.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Export…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Show the surfaces of the regions in the 3-D view too.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Show in 3-D</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Several volumes</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Volumes that are examined one after another, with the settings that the panel shows when each begins.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Add the CT volume that is chosen above to the list.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Add this volume</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Examine all volumes that wait, one after another. Cancel stops the one that runs; the next one begins then.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Detect in all</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Take the chosen volume out of the list; the one that runs is cancelled.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Take out</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Outputs</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>KL map:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The volume that the map goes into. A volume that is chosen loses what it held; its colors stay when it was a map before. Several volumes in a row always get new ones.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>KL map</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>New, each time</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Reconstruction:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The volume that the reconstruction goes into. A volume that is chosen loses what it held; its window stays.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Reconstruction</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Regions:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The segmentation that the regions go into. One that is chosen loses its segments; how it is shown stays.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Region table:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The table that the numbers of the regions go into. One that is chosen loses what it held.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Region table</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Audit a reconstruction</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The image that is asked about, in HU: a vendor's, a network's, or this module's own reconstruction.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Slice:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>One slice is audited at a time. Counted from the feet, from 0.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Compare with:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What tells whether the image is right: the data that it was made from, or a better volume on the same voxels, whose scan is then simulated.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Sinogram:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Line integrals with their geometry, .npz or .mat. It must be the scan of this slice.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Volume:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A volume on the same voxels. What it does not show cannot be found.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Structures:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Optional. Its visible segments are audited. None: the strongest compact structures are looked for.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Audit</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Ask the data which structures of this slice were measured.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How far the audit is.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What the audit does, or what should be known before anything else.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What the data say, in a sentence.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Structures and what the data say of them. Click one to see it in all views.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Show:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What is shown in color over the slice.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Pictures, every number and where they come from, in the web browser.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Open the page</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Advanced</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Preset:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How much work each slice gets. quick: a first look. default: what the published figures of this program were measured with, about twice as long. full: for a figure in a paper.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Views:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Number of X-ray projections of the simulated scan. Fewer views measure less, so the prior fills in more and small lesions fade.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Geometry:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Rays of the simulated scan: parallel, or a fan as in a clinical scanner.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Dose:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Noise of the simulated scan: standard noise, or X-ray photons a ray. Fewer photons are a lower dose and a noisier scan.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Samples:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How many reconstructions are drawn for every slice. More are steadier and take longer in proportion.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>as preset</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Steps:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Steps of each reconstruction. More are finer and take longer in proportion.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Seed:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Where the random numbers start. The same seed gives the same result.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Device:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What computes: auto uses a suitable graphics card when there is one.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Block depth:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Extent of a block across slices. 0 adds up each slice by itself. Acts at once.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Own weights:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Folder with priors of your own: weights (.safetensors) with their card (.json) beside them. They appear in the list of priors.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>This computer</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Other Python:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Optional. A Python, or a folder with a Python environment, in which klip and PyTorch are installed. Slicer's own Python then stays as it is. Empty: Slicer's own.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Offline packages:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Optional. Folder with Python wheels, for a computer without internet: packages are then installed from it and from nowhere else.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Results folder:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Where results are kept, so that a stopped detection continues and the report can be opened. Empty: Slicer's temporary folder.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Look what is installed. Nothing is changed or downloaded.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Check</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Look which of the packages are newer, and install those after a question; Slicer restarts when you agree. Slicer's own packages and PyTorch stay as they are. Nothing of yours is sent.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Update…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Whether everything that is needed is installed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Log</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What was run and what it said, for when something is wrong. It stays on this computer.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Copy the log to the clipboard. It names folders and files: look through it before you send it to anybody.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Copy</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Empty the log in this panel. Slicer's own log keeps its lines.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Clear</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Research software. Not a medical device. An unmarked place is not thereby healthy.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.audit_controls</name>
    <message>
      <source>Audit</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Its sinogram, a file</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Another volume</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stop now. Nothing is kept of an audit that is not finished.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Ask the data which structures of this slice were measured.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose the reconstruction that is to be audited.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The chosen reconstruction is empty.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A detection is running. Wait until it ends, or cancel it.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose the volume that it is compared with.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A volume cannot be compared with itself. Choose another one.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The two volumes lie on different voxels. Resample one to the other first.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Starting…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stopped.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nothing has been audited yet.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Pictures, every number and where they come from, in the web browser.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The page is no longer where it was written. Audit again.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What was not measured</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Residual</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nothing</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stopping…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancel</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose the sinogram that it was made from, a file .npz or .mat.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The audited volume is no longer in the scene.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.audit_run</name>
    <message>
      <source>None of the visible segments lies on this slice.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose another slice, show a segment, or choose none: structures are then looked for.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Audit</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.audit_scene</name>
    <message>
      <source>measured</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>contradicted</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>unprovable</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Not measured</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Residual</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{name} audited</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{name} audit table</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{name} audit</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Audit: {name}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{name} not measured</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{name} residual</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.audit_table</name>
    <message>
      <source>Structure</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Its color is that of the verdict.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The data say</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>measured: the data hold it. contradicted: they speak against it, so it was probably invented. unprovable: they cannot tell, invented or not.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Held</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How much of the structure the data hold: 1 all of it, 0 none. With its standard error.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nats</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>For the structure as it is shown, against none. Three are odds of twenty to one.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Expected</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nats that this scan would give were the structure there as shown. Below three it cannot show it.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.cards</name>
    <message>
      <source>{low:g} to {high:g} HU</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Knows</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Sees</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>For</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>License</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.dependencies</name>
    <message>
      <source>PyTorch will be downloaded and installed into Slicer's Python (0.2 to 3 GB). Slicer's own packages are not changed. Continue?</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>PyTorch was not installed. It is needed; press Detect OOD again when you want it.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{names} will be downloaded and installed into Slicer's Python (PyTorch alone is 0.2 to 3 GB). Slicer's own packages are not changed. Continue?</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nothing was installed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Slicer's Python was not found. Choose another Python under “This computer”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Everything is installed: {program}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{names} will be installed into Slicer's Python from {folder}.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The packages could not be installed. Check the internet connection or its proxy; or choose a folder of wheels, or another Python, under “This computer”. Slicer's own packages were not changed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>There is no folder {folder}. Choose the one with the wheels.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The chosen Python lacks {names}. Install it there with:
{command}
or leave “Other Python” empty.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{names} is still missing. Install it when asked, or choose another Python under “This computer”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{names} will be asked for when you press Detect OOD.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The chosen Python lacks {names}.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{program} is Python {old}; klip needs {new} or newer.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{names} is missing, and in testing mode nothing is installed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nothing was installed ({error}).</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{program} is no Python that works ({error}).</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.detect_button</name>
    <message>
      <source>Detect OOD</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stop now. Slices that are finished are kept, and used again the next time.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Examine the volume: mark where it departs from the anatomy that the prior knows.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose a CT volume first.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The chosen volume is empty. Load a CT first.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>This volume is a result of KLIP. Choose the CT that was examined.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose a prior first.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The region of interest lies outside the volume.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Move it onto the volume, or choose None.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stopping…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancel</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.detection</name>
    <message>
      <source>The examined volume is no longer in the scene.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.dicom_origin</name>
    <message>
      <source>The examined volume is no longer in the scene.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The volume was not loaded from DICOM.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The DICOM files of this volume are no longer where Slicer's database has them.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The DICOM files of this volume lie in several folders.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.display</name>
    <message>
      <source>KL (nats per block)</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{unit} per block</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.export_menu</name>
    <message>
      <source>Export the checked regions</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Segmentation in the scene</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A copy of the checked regions as a segmentation of its own, which the sliders leave alone.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Segmentation file (.seg.nrrd)…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>For 3D Slicer: segments with names and colors.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Label image (.nii.gz)…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>For other programs: 1 for the first region, 2 for the second, …</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>DICOM SEG (.dcm)…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>For a PACS: refers to the original images. Needs a volume that was loaded from DICOM and not changed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>DICOM results: SEG, map and report…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>For a PACS: the segmentation, the map as Parametric Map and the numbers as Structured Report.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Surfaces (.stl)…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>One surface a region, for 3-D programs.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Report (.html)…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>One page with pictures, regions, readings and all settings.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Numbers and readings (.json)…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>For programs: regions, what you said of them, settings.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Save the checked regions: in the scene, as a file, as DICOM SEG, as surfaces or as a report.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nothing has been examined yet.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>No region is checked.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The segmentation is in the scene.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Saved in {path}.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.exports</name>
    <message>
      <source>No region is checked.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Check at least one region in the table.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>There is no file to write to.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose one.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>DICOM results must refer to the DICOM images they were made from, and those are not to be found.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Load the study through the DICOM module and run the detection again, or use the .seg.nrrd.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The examined volume is no longer in the scene.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Load it again, or use another format.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose a folder you may write to.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>There is no export “{kind}”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose from {kinds}.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>This export needs {name}, which Slicer's Python does not have.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Install it in Slicer's Python console with slicer.util.pip_install('{name}'), or use another format.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{folder} cannot be written to ({reason}).</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.failures</name>
    <message>
      <source>Something failed that nobody foresaw ({error}). The application log (Help menu) has the details.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Files could not be read or written ({error}). Look whether the disk is full, and whether the results folder under “This computer” is one that you may write to.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.live</name>
    <message>
      <source>No slice is finished yet.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Wait for the first one.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Run the detection again.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The scene was saved by another version of KLIPSlicer.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Update the extension, or run the detection again.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The KL trace stored in the scene is damaged ({error}).</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.live_controls</name>
    <message>
      <source>Recommended</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Fine (0.08 to 0.16)</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Coarse (0.16 to 0.32)</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Large lesions (0.32 to 1.60)</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Wide (0.02 to 0.40, score “klip”)</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Custom</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Map and regions could not follow. The application log has the details.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.look_within</name>
    <message>
      <source>Everywhere</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The segmentation could not be read. The application log has the details.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>All segments</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.nodes</name>
    <message>
      <source>The volume is empty.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Load a CT volume first.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The volume has several numbers a voxel (color or a time series).</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose a plain CT.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The map was changed by another module.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Run the detection again.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The result does not lie on this volume's voxels.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose the very volume that was examined, or run the detection again.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.organs</name>
    <message>
      <source>The segment to look within is gone.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose another one.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The segmentation does not overlap with the study.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose one that was made of this volume.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The segment lies outside the study, or is empty.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The segmentation and the study are apart by a transform that is not linear.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Harden the transforms of both first.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The segmentation has no binary labelmap.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Create that representation in the Segmentations module.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The segmentation has {n} segments.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose one of at most {n}.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.other_python</name>
    <message>
      <source>There is no Python at {path}. Choose its executable or its environment's folder.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.outputs</name>
    <message>
      <source>Choose another node under “Outputs”, or a new one.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Results cannot go into the CT that is examined.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Regions cannot go into the segmentation that organs are read from.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Map and reconstruction cannot go into the same volume.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose two, or new ones.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Results cannot go into {name}, which is of another kind.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{name} was loaded from DICOM and would be lost.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{name} shows an item of a sequence.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.panel</name>
    <message>
      <source>Stopping…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>1 region stands out ({took}).</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{n} regions stand out ({took}).</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stopped. Finished slices are kept: Detect OOD continues with the others.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stopped.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A part of the results was deleted from the scene. Press Detect OOD again.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.platforms</name>
    <message>
      <source>The device “mps” is the graphics of Apple's computers. Choose “auto” under “Advanced”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Apple's computers have no CUDA. Choose “mps” or “cpu” under “Advanced”.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.queue_controls</name>
    <message>
      <source>waiting</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>running</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>no longer in the scene</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>refused</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.raw_nrrd</name>
    <message>
      <source>Choose another results folder under “This computer”, with space left.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{path} cannot be written ({reason}).</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.reading_controls</name>
    <message>
      <source>not read</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>real</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>normal variant</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>artefact</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>unsure</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.region_table</name>
    <message>
      <source>The segment that holds most of the region, of the segmentation under “Organs”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Organ</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>unknown</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Region</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Name and color. Uncheck to hide the region and to keep it out of exports. Your reading: ✓ real, ≈ normal variant, ✗ artefact, ? unsure, … a note.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Total</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Departure from healthy anatomy in all, in the score's unit: the larger, the less it was expected.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Peak</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The strongest block in the region, in the unit of the map's colors.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How often chance alone would mark even one region like this in such a scan. Small is surer.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Part of the regions as strong as this one or stronger that chance may have made. Small is surer.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>mL</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Volume of the marked region. It may reach up to half a block beyond what caused it.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Slices</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>First and last slice, counted from the feet, from 0.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>In health</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How many regions as strong a healthy study of this size shows: 1:25 is one in 25 studies. Empty where no reference of health judged; then see p and q. ~ marks what was found over several centimeters: its outline is rough.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Found over several centimeters: its outline is rough.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>outside</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{name}: total {total}, p = {p}, q = {q}. Click to see it in all views.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.results_list</name>
    <message>
      <source>Nothing has been examined yet.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nothing stands out from what chance would mark. That does not mean that nothing is there.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>1 region, {ml} mL.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{n} regions, {ml} mL together.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Within {names} alone: {text}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>At most {fdr} % of what is marked is expected to be chance.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>As much average healthy tissue shows {n}.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A healthy study of this size shows {n}.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.runner</name>
    <message>
      <source>Detect OOD</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The graphics card ran out of memory. Choose the device “cpu” or fewer samples under “Advanced”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Python packages of different versions do not fit each other. Choose a separate Python environment with klip under “This computer”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>crashed</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>klip {how}. {last} Press {button} again to continue from what is finished; if it happens again, the application log (Help menu) has the details.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The Python at {program} cannot be started. Choose another one under “This computer”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The Python package {name} is missing where klip runs. Press {button} again to install what is missing, or choose another Python under “This computer”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The computer ran out of memory. Close other programs, choose fewer slices or a smaller region, then press {button} again: what is finished is kept.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>ended with code {code}</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.sample_study</name>
    <message>
      <source>The synthetic study could not be made.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>KLIP: out-of-distribution detection</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Drawing a synthetic patient</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.scene_results</name>
    <message>
      <source>The examined volume is no longer in the scene.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Load it again.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A part of the results was deleted from the scene.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Run the detection again.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>There is no trace behind these results.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.sequences</name>
    <message>
      <source>This volume shows item {k} of {n} of a sequence. The item that is shown is examined.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.server_controls</name>
    <message>
      <source>Who examines the volume. A server needs nothing to be installed here.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>File with the token that the server's administrator gave you.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Optional. Certificate of a server that made its own, a PEM file.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Say hello to the server. Nothing of the study is sent.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Asking the server…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>This computer</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Server</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Test connection</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Examine on:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Server:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Token file:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Certificate:</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.status</name>
    <message>
      <source>Looking through the volume</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Starting</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Sending the study to the server</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Waiting for the server</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Reading the study</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Finding the body</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Examining</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Adding up nats</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Auditing</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Writing results</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Bringing the results</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Done</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>a few seconds left</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>about {n} h left</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Starting…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>about {n} s left</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>about {n} min left</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.study_controls</name>
    <message>
      <source>No prior was found. Choose a folder under “Advanced”.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{name} (own)</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.study_source</name>
    <message>
      <source>The volume changed while it was read.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stop the sequence that plays, and press Detect OOD again.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The volume was changed after it was loaded from DICOM.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>It is examined from a temporary file; a DICOM SEG will not be possible.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.suitability</name>
    <message>
      <source>The volume could not be looked through ({error}). The application log (Help menu) has the details; Slicer's own Python packages may have been exchanged.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.update_controls</name>
    <message>
      <source>Looking what is newer…</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Takes the old KLIPCore out of Slicer's Python, after a question. Nothing is downloaded.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A detection is running. Cancel it first, or wait.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nothing is newer. PyTorch is updated by the PyTorch extension.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nothing was changed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>These packages will be downloaded and installed into Slicer's Python:

{list}

Slicer's own packages and PyTorch are not changed. Continue?</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Updated: {list}.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Take it out and restart</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.updates</name>
    <message>
      <source>Restart Slicer before the next detection.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>KLIPCore {version} is installed in Slicer's Python and hides the one that came with this module, which needs {needed} or newer. Take the old one out and restart Slicer.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>In testing mode nothing is updated.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>No KLIPCore came with this module. Install the KLIPSlicer extension again.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>KLIPCore will be taken out of Slicer's Python. Continue?</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nothing was changed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>What was updated is used after a restart. Restart Slicer now? What is not saved in the scene is lost.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Slicer could not restart itself ({error}). Close it and start it again.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Another Python is chosen, and nothing is changed there from here. Update it with:
{command}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{names} will be asked for when you press Detect OOD; what is installed then is new.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The update was given up: pip would exchange {names}, which must stay.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>It is not known what is newer ({error}). Check the internet connection or its proxy, or choose a folder of wheels. Nothing was changed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Slicer's pip did not say what is newer ({error}). Nothing was changed.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>KLIPSlicerLib.version</name>
    <message>
      <source>KLIP needs 3D Slicer {oldest} or newer, and this is {here}. Download the newer one; both can be installed side by side.</source>
      <translation type="unfinished" />
    </message>
  </context>
</TS>
